"""How much of the words SSL features hold, and how much of that their tokens: speech from either, by a small network.

    python benchmarks/nano_bound.py --bundle=BUNDLE --shards=SHARDS --inputs=clean/,se_5/ --outputs=DIR [--tokens]

The network takes the place of both stages: it learns the latents of the acoustic codec from SSL features, or with
--tokens from the features that their tokens decode to.  The speech that it learns from is degraded on the input
side in a share of --degraded of the excerpts.  DIR/<name of an input folder> is what the codec makes of its latents,
for `evaluate.py`.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from jaxtyping import Float
from nano_hearing import Hearing
from nano_tokens import write_waves

from configs.nano.common import DEGRADATIONS, NOISE, SPEECH
from metis_jax.audio.files import read_wave
from metis_jax.clock import CODEC_HOP, CODEC_RATE, FRAME_RATE, SSL_RATE, ssl_samples
from metis_jax.data.batches.examples import Waves
from metis_jax.data.corpus.corpus import Corpus, Selection
from metis_jax.data.effects.degrade import DegradeConfig, degrade
from metis_jax.evaluation.pairing import find_audio
from metis_jax.layers.convnext import VocosBackbone
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.sections import from_config_dict
from metis_jax.types import Array, Int
from metis_jax.weights.bundle import Bundle

FRAMES = 298  # of an excerpt
CROP = 149  # of an excerpt in a batch
EXCERPTS = 900
BATCH = 12
BUCKET = 256  # lengths are padded to multiples of it

Frames = Float[np.ndarray, "_ d"]


class Regression(nn.Module):
    """Frames in, latents out, with the context of 18 frames to either side."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> Float[Array, "b t c"]:
        return nn.Dense(self.width)(VocosBackbone(256, 768, 5)(nn.Dense(160)(x), lengths))


class Chain:
    """Encoders and codec of a bundle."""

    def __init__(self, path: str, tokens: bool):
        self._hearing, self._tokens = Hearing(path), tokens
        config, variables = Bundle(path).load("acoustic_codec")
        codec = AcousticCodec(config)
        self._latents = jax.jit(lambda wave, n: codec.apply(variables, wave, n, method="latents")[0])
        self._codes = jax.jit(lambda latents, n: codec.apply(variables, latents, n, method="quantize").codes)

    def inputs(self, waves: Sequence[Float[np.ndarray, " _"]]) -> list[Frames]:
        """What the network reads of waves at 16 kHz."""
        features = self._hearing.engine.ssl_features(waves)
        return self._hearing.codes(features)[1] if self._tokens else features

    def latents(self, wave: Float[np.ndarray, " l"]) -> Frames:
        """What it shall find of the same at 24 kHz."""
        return np.asarray(self._latents(wave[None], np.array([len(wave)])))[0]

    def wave(self, latents: Frames, length: int) -> Float[np.ndarray, " l"]:
        """Quantized and decoded; frames from `length` on are padding."""
        codes = np.asarray(self._codes(latents[None], np.array([length])))[0, :length]
        return self._hearing.engine.waves([codes])[0]


def excerpts(
    chain: Chain, shards: str, degraded: float
) -> tuple[Float[np.ndarray, "n t d"], Float[np.ndarray, "n t c"]]:
    """Inputs and latents of speech that nano experiments train on."""
    corpus, rng = Corpus([shards]), np.random.default_rng(0)
    waves, config = Waves(corpus, cached_seconds=3600.0), from_config_dict(DegradeConfig, DEGRADATIONS)
    noises = corpus.select(Selection(**NOISE))
    least = FRAMES / FRAME_RATE + 0.1
    chosen = rng.permutation(corpus.select(Selection(**SPEECH, min_seconds=least)))[:EXCERPTS]
    inputs, latents = [], []
    for index in tqdm.tqdm(chosen.tolist(), desc="excerpts", disable=None):
        clean = waves.whole(index, SSL_RATE)[: ssl_samples(FRAMES)]
        if rng.random() < degraded:
            clean = degrade(
                rng, clean, SSL_RATE, config, noise=lambda own: waves.whole(int(own.choice(noises)), SSL_RATE)
            )
        inputs += chain.inputs([clean])
        latents.append(chain.latents(waves.whole(index, CODEC_RATE)[: FRAMES * CODEC_HOP]))
    return np.stack([x[:FRAMES] for x in inputs]), np.stack([x[:FRAMES] for x in latents])


def _standard(x: Float[np.ndarray, "n t d"]) -> tuple[np.ndarray, np.ndarray]:
    return x.mean((0, 1)), x.std((0, 1)) + 1e-5


def learn(
    inputs: Float[np.ndarray, "n t d"], latents: Float[np.ndarray, "n t c"], steps: int
) -> Callable[[Frames, int], Frames]:
    """A function from padded inputs and their length to latents, trained by their absolute error."""
    (mean, size), (centre, spread) = _standard(inputs), _standard(latents)
    x, y = ((inputs - mean) / size).astype(np.float32), ((latents - centre) / spread).astype(np.float32)
    model, lengths = Regression(latents.shape[2]), jnp.full((BATCH,), CROP)
    params = nn.unbox(model.init(jax.random.key(0), x[:BATCH, :CROP], lengths))
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps, 0.03))

    @jax.jit
    def step(params, moments, x, y):
        error, gradients = jax.value_and_grad(lambda p: jnp.mean(jnp.abs(model.apply(p, x, lengths) - y)))(params)
        updates, moments = optimizer.update(gradients, moments)
        return optax.apply_updates(params, updates), moments, error

    moments, rng = optimizer.init(params), np.random.default_rng(0)
    with tqdm.trange(steps, desc="regression", disable=None) as bar:
        for _ in bar:
            rows, start = rng.integers(len(x), size=BATCH), rng.integers(FRAMES - CROP + 1)
            window = slice(start, start + CROP)
            params, moments, error = step(params, moments, x[rows, window], y[rows, window])
    print(f"error of the last step: {float(error):.3f} standard deviations")
    apply = jax.jit(lambda frames, n: model.apply(params, frames, n))
    return lambda frames, n: np.asarray(apply(((frames - mean) / size)[None], np.array([n])))[0] * spread + centre


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Speech from SSL features or tokens, by a small network.")
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--shards", required=True, help="shards of the speech that the bundle was trained on")
    parser.add_argument("--inputs", required=True, help="comma-separated folders of recordings")
    parser.add_argument("--outputs", required=True, type=pathlib.Path)
    parser.add_argument("--tokens", action="store_true", help="read tokens and not features")
    parser.add_argument("--degraded", type=float, default=0.75, help="share of the excerpts")
    parser.add_argument("--steps", type=int, default=1000)
    flags = parser.parse_args(arguments)
    try:
        if flags.steps < 1 or not 0 <= flags.degraded <= 1:
            raise ValueError(f"--steps={flags.steps} --degraded={flags.degraded}: use 1 or more, and 0 to 1")
        places = [find_audio(folder, folder) for folder in flags.inputs.split(",")]
        chain = Chain(flags.bundle, flags.tokens)
        predict = learn(*excerpts(chain, flags.shards, flags.degraded), flags.steps)
        for folder, place in zip(flags.inputs.split(","), places, strict=True):
            frames = chain.inputs([read_wave(path).at(SSL_RATE) for path in place.paths])
            padded = [np.pad(one, ((0, -len(one) % BUCKET), (0, 0))) for one in frames]
            waves = [chain.wave(predict(x, len(one)), len(one)) for x, one in zip(padded, frames, strict=True)]
            write_waves(flags.outputs / pathlib.Path(folder).name, place.names, waves)
    except (ValueError, OSError) as error:
        print(f"nano_bound: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

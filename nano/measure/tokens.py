"""What the tokens of a bundle keep of speech: waves decoded from them, for `evaluate.py`, and how many codes are used.

    python nano/measure/tokens.py --bundle=BUNDLE --inputs=clean/ --outputs=DIR [--levels=1,2,4,8] [--resynthesis]
        [--replaced=10,30]

DIR/levels_<n> is the acoustic codec alone with its first n levels.  With --resynthesis DIR/ssl is speech from the SSL
tokens: both acoustic generators, then the codec; where the bundle wants it of enhancement (`own_voice`), the first
seconds of the recording are the prompt, as there.  DIR/ssl_<n> is the same where <n>% of the SSL tokens are codes that
were drawn.  Prints one JSON object.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float, Int

from metis_jax.audio.files import read_wave, write_wave
from metis_jax.cli.command import exit_status
from metis_jax.clock import CODEC_RATE, SSL_RATE
from metis_jax.evaluation.pairing import find_audio
from metis_jax.inference.engine import Engine
from metis_jax.inference.jobs import AcousticJob
from metis_jax.inference.passes import OWN_VOICE_FRAMES
from metis_jax.inference.settings import Settings
from metis_jax.inference.windows import WindowPlan
from metis_jax.types import Policy
from metis_jax.weights.bundle import Bundle


def usage(tokens: Sequence[Int[np.ndarray, " _"]], codebook_size: int) -> dict[str, float]:
    """Share of the codes that occur, entropy in nats of one code, and share of frames that repeat the one before."""
    counts = np.bincount(np.concatenate(tokens), minlength=codebook_size)
    shares = counts[counts > 0] / counts.sum()
    return {
        "frames": int(counts.sum()),
        "share_used": round(float(np.mean(counts > 0)), 4),
        "entropy_nats": round(float(-np.sum(shares * np.log(shares))), 3),
        "repeats": round(float(np.mean(np.concatenate([codes[1:] == codes[:-1] for codes in tokens]))), 4),
    }


def replaced(tokens: Int[np.ndarray, " t"], percent: int, codebook_size: int, seed: int) -> Int[np.ndarray, " t"]:
    """The tokens, of which that share is replaced by any codes, each as likely."""
    rng = np.random.default_rng([seed, percent])
    drawn = rng.integers(0, codebook_size, len(tokens))
    return np.where(rng.random(len(tokens)) < percent / 100, drawn, tokens)


def resynthesized(
    engine: Engine, ssl: Sequence[Int[np.ndarray, " t"]], acoustic: Sequence[Int[np.ndarray, "t q"]], decoding: Mapping
) -> Iterator[Float[np.ndarray, " l"]]:
    """Waves from SSL tokens, by both acoustic generators and the codec, each in the voice of its first frames."""
    settings = Settings.of("se", preferred=decoding)
    ahead = OWN_VOICE_FRAMES if settings.own_voice else 0
    room = WindowPlan.of(decoding).room(ahead)
    jobs, owners = [], []
    for index, (tokens, heard) in enumerate(zip(ssl, acoustic, strict=True)):
        voice = heard[: min(ahead, len(tokens))]
        for start in range(0, len(tokens), room):
            said = np.concatenate([tokens[: len(voice)], tokens[start : start + room]])
            jobs.append(AcousticJob(said, voice, (0, index, start)))
            owners.append(index)
    pieces = [[] for _ in ssl]
    made = engine.acoustic_stage(jobs, settings.first_level, settings.other_levels)
    for owner, job, tokens in zip(owners, jobs, made, strict=True):
        pieces[owner].append(tokens[len(job.known) :])
    return engine.waves(list(map(np.concatenate, pieces)))


def write_waves(folder: pathlib.Path, names: Sequence[str], waves: Iterable[Float[np.ndarray, " _"]]) -> None:
    """`<name>.wav` at the codec's rate for every name."""
    for name, wave in zip(names, waves, strict=True):
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_wave(path, CODEC_RATE) as writer:
            writer.write(wave)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Speech decoded from tokens, and the use of codes.")
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--inputs", required=True, help="a folder or list of clean recordings")
    parser.add_argument("--outputs", required=True, type=pathlib.Path)
    parser.add_argument("--levels", default="", help="comma-separated numbers of levels; by default all levels")
    parser.add_argument("--resynthesis", action="store_true", help="decode from SSL tokens, too")
    parser.add_argument("--replaced", default="", help="decode from SSL tokens of which these percents are drawn anew")
    flags = parser.parse_args(arguments)
    return exit_status("tokens", lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    place = find_audio(flags.inputs, "--inputs")
    waves = [read_wave(path) for path in place.paths]
    bundle = Bundle(flags.bundle)
    engine = Engine(bundle, policy=Policy(), devices=jax.local_devices()[:1], rows=1)
    codec = bundle.components["acoustic_codec"]
    acoustic = engine.acoustic_tokens([wave.at(CODEC_RATE) for wave in waves])
    levels = [int(count) for count in flags.levels.split(",") if count] or [codec.num_levels]
    for count in levels:
        decoded = engine.waves([tokens[:, :count] for tokens in acoustic])
        write_waves(flags.outputs / f"levels_{count}", place.names, decoded)
    found = {
        f"acoustic level {q + 1}": usage([tokens[:, q] for tokens in acoustic], codec.codebook_size)
        for q in range(codec.num_levels)
    }
    if "semantic_codec" in bundle.components:
        ssl = engine.semantic_tokens(engine.ssl_features([wave.at(SSL_RATE) for wave in waves]))
        found["ssl"] = usage(ssl, bundle.components["semantic_codec"].codebook_size)
    if flags.resynthesis:
        write_waves(flags.outputs / "ssl", place.names, resynthesized(engine, ssl, acoustic, bundle.decoding))
    for percent in (int(share) for share in flags.replaced.split(",") if share):
        size = bundle.components["semantic_codec"].codebook_size
        worse = [replaced(tokens, percent, size, number) for number, tokens in enumerate(ssl)]
        made = resynthesized(engine, worse, acoustic, bundle.decoding)
        write_waves(flags.outputs / f"ssl_{percent}", place.names, made)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    sys.exit(main())

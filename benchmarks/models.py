"""Milliseconds and achieved GFLOP/s of every model on one 10 s input, beside PyTorch where it is installed.

    python benchmarks/models.py --size=tiny
    python benchmarks/models.py --size=full --models=SemanticGenerator,SslEncoder

The arithmetic is that of the matrix products and convolutions; the limit is a matrix product measured in the same run.
The codecs are timed encoding and decoding once.  PyTorch runs the same layers eagerly with random weights.
"""

import dataclasses
import functools
import gc
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import measure
from absl import app, flags

from metis_jax import config as configs
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.models.acoustic_generator import AcousticGenerator
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.models.visual_encoder import VisualEncoder
from metis_jax.training.throughput import count_flops, matrix_product_rate
from metis_jax.types import Array, Policy

_SIZE = flags.DEFINE_enum("size", "tiny", ["tiny", "full"], "which sizes")
_MODELS = flags.DEFINE_list("models", [], "class names; all by default")
_SECONDS = flags.DEFINE_float("seconds", 10.0, "seconds of input")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "compute dtype")


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    config: object
    model: nn.Module
    inputs: tuple[Array, ...]
    forward: Callable[..., Array]


def cases(size: str, seconds: float, policy: Policy) -> Iterator[Case]:
    """Every model with inputs of `seconds` and a function of (bound model, *inputs)."""
    sizes = configs.SIZES[size]
    frames = round(50 * seconds)
    lengths = jnp.array([frames], jnp.int32)
    tokens, all_masked = jnp.zeros((1, frames), jnp.int32), jnp.ones((1, frames), bool)
    time = jnp.ones((1,), jnp.float32)

    config = sizes[configs.SslEncoderConfig]
    features = jnp.ones((1, frames, config.input_width), jnp.float32)
    yield Case("SslEncoder", config, SslEncoder(config, policy), (features,), lambda m, x: m.features(x, lengths))

    config = sizes[configs.SemanticCodecConfig]
    features = jnp.ones((1, frames, config.feature_width), jnp.float32)

    def recode(m, x):
        return m.decode(m.encode(x, lengths), lengths)

    yield Case("SemanticCodec", config, SemanticCodec(config, policy), (features,), recode)

    config = sizes[configs.AcousticCodecConfig]
    wave = jnp.ones((1, frames * config.hop), jnp.float32)
    samples = jnp.array([wave.shape[1]], jnp.int32)
    yield Case(
        "AcousticCodec", config, AcousticCodec(config, policy), (wave,), lambda m, x: m.decode(*m.encode(x, samples))
    )

    config = sizes[configs.SemanticGeneratorConfig]
    yield Case(
        "SemanticGenerator",
        config,
        SemanticGenerator(config, policy),
        (tokens,),
        lambda m, x: m.logits(m(x, all_masked, time, lengths=lengths)),
    )

    config = sizes[configs.AcousticGeneratorConfig]
    levels = jnp.zeros((1, frames, config.num_levels), jnp.int32)
    level = jnp.zeros((1,), jnp.int32)
    yield Case(
        "AcousticGenerator",
        config,
        AcousticGenerator(config, policy),
        (levels,),
        lambda m, x: m.logits(m(x[:, :, 0], x, level, all_masked, ~all_masked, time, lengths=lengths), level),
    )

    config = sizes[configs.VisualEncoderConfig]
    t = round(config.frame_rate * seconds)
    video = jnp.ones((1, t, config.crop, config.crop, 1), jnp.float32)
    video_lengths = jnp.array([t], jnp.int32)
    yield Case(
        "VisualEncoder",
        config,
        VisualEncoder(config, policy),
        (video,),
        lambda m, x: m(x, video_lengths, train=False),
    )


def torch_seconds(config: object, seconds: float) -> float | None:
    """The time of the torch twin, or None where torch or a twin is missing."""
    try:
        import torch
        import torch_twins
    except ImportError:
        return None
    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    try:
        run = torch_twins.twin(config, seconds, device)
    except ValueError:
        return None
    run()
    return measure.seconds(lambda: (run(), 0)[1])


def row(case: Case, limit: float, seconds: float) -> str:
    """One line of the table; `limit` is the FLOP/s of a matrix product."""
    initialize = nn.init(case.forward, case.model)
    variables = nn.unbox(jax.jit(initialize)(jax.random.key(0), *case.inputs))
    forward = jax.jit(nn.apply(case.forward, case.model))
    elapsed = measure.seconds(functools.partial(forward, variables, *case.inputs))
    flops = count_flops(forward, variables, *case.inputs)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    del variables, forward
    gc.collect()
    twin = torch_seconds(case.config, seconds)
    beside = "not measured | " if twin is None else f"{1e3 * twin:.1f} | {twin / elapsed:.2f}"
    return (
        f"| {case.name} | {parameters / 1e6:.2f}M | {1e3 * elapsed:.1f} | {flops / 1e9:.2f} "
        f"| {flops / elapsed / 1e9:.0f} | {flops / elapsed / limit:.0%} | {beside} |"
    )


def main(_):
    policy = Policy(dtype=_DTYPE.value)
    limit = matrix_product_rate(policy.dtype)
    print(measure.environment())
    print(
        f"{_SECONDS.value:g} s of input, {_SIZE.value} size, {_DTYPE.value}; matrix product {limit / 1e9:.0f} GFLOP/s\n"
    )
    print("| model | parameters | ms | GFLOP | GFLOP/s | of limit | torch ms | torch / ours |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for case in cases(_SIZE.value, _SECONDS.value, policy):
        if not _MODELS.value or case.name in _MODELS.value:
            print(row(case, limit, _SECONDS.value), flush=True)


if __name__ == "__main__":
    app.run(main)

"""Masked decoding from tokens to wave: seconds per stage, RTF, compile time, memory, and the release's way beside it.

    python benchmarks/decode.py --size=tiny --batches=1,8
    python benchmarks/decode.py --size=full --batches=1,8 --dtype=bfloat16
    python benchmarks/decode.py --size=full --batches=8 --share=0.05      # for a device that would need hours
    python benchmarks/decode.py --long_minutes=10

Full TTS settings: stage 1 in 25 steps with guidance, then 40, and 16 + 10 with guidance; 3 s of prompt, 10 s of target,
100 phones; random weights.  The release's way is PyTorch, eager, one example at a time, a loop over steps that runs the
conditional and the unconditional pass one after the other, with the layers of `torch_twins.py`.  The limit is a matrix
product measured in the same run.  `--share` runs a share of every stage's steps, both ways.  `--long_minutes` sends a
long source through the windows at the smallest size, in one step per level because memory does not depend on the steps,
and prints the resident memory.
"""

import dataclasses
import gc
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import measure
import numpy as np
from absl import app, flags

from metis_jax import config as configs
from metis_jax.cli.runtime import compile_clock
from metis_jax.decoding import generators
from metis_jax.decoding.masked_decode import Decoder, DecodeState, Sampling, make_schedule
from metis_jax.inference.buckets import PHONE_BUCKETS, bucket
from metis_jax.inference.jobs import StageSettings
from metis_jax.inference.metis import Metis, Settings
from metis_jax.inference.programs import use_compilation_cache
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.models.acoustic_generator import AcousticGenerator
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.training.throughput import count_flops, matrix_product_rate
from metis_jax.types import Policy
from metis_jax.weights.bundle_writer import write_bundle

_SIZE = flags.DEFINE_enum("size", "tiny", ["tiny", "full"], "which sizes")
_BATCHES = flags.DEFINE_list("batches", ["1", "8"], "batch sizes")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "compute dtype")
_SHARE = flags.DEFINE_float("share", 1.0, "share of the steps of every stage", lower_bound=0.01, upper_bound=1.0)
_TORCH = flags.DEFINE_bool("torch", True, "run the release's way too, where torch is installed")
_LONG = flags.DEFINE_float("long_minutes", 0.0, "stream a source of so many minutes instead")

PROMPT, TARGET, PHONES = 150, 500, 100
GUIDANCE = 2.5


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of the chain and what it costs."""

    name: str
    run: Callable[[], Any]
    flops: float


def share_of(steps: int) -> int:
    """How many of a stage's steps are run."""
    return max(1, round(steps * _SHARE.value))


def parameters(model: nn.Module, *inputs: Any, method: str = "__call__") -> Any:
    """Random variables, matrices in the compute dtype as a loaded bundle has them."""
    make = jax.jit(lambda key: nn.unbox(model.init(key, *inputs, method=method)))
    dtype = Policy(dtype=_DTYPE.value).compute_dtype
    return jax.tree.map(lambda x: x.astype(dtype) if x.ndim > 1 else x, make(jax.random.key(0)))


def generator_stages(sizes: dict[type, Any], policy: Policy, batch: int) -> list[Stage]:
    """Both generators and the wave decoder, at the shapes that `Engine` runs."""
    lengths = jnp.full((batch,), PROMPT + TARGET, jnp.int32)
    prompts = jnp.full((batch,), PROMPT, jnp.int32)
    t, p = bucket(PROMPT + TARGET), bucket(PHONES, PHONE_BUCKETS)
    keys = jax.random.split(jax.random.key(1), batch)

    config = dataclasses.replace(sizes[configs.SemanticGeneratorConfig], phone_vocabulary=1024)
    model = SemanticGenerator(config, policy)
    variables = parameters(model, jnp.zeros((1, 2), jnp.int32), method="init_all")
    inputs = generators.SemanticInputs(
        prompts,
        lengths,
        jnp.zeros((batch, p), jnp.int32),
        jnp.full((batch,), PHONES, jnp.int32),
        target_frames=bucket(TARGET),
    )
    tokens = jnp.zeros((batch, t, 1), jnp.int32)
    run = (generators.semantic_steps, model, variables, (share_of(25),), 0, inputs, tokens, keys, GUIDANCE, 0.9)
    found = [_stage("stage 1", *run)]

    full = sizes[configs.AcousticGeneratorConfig]
    inputs = generators.AcousticInputs(prompts, lengths, jnp.zeros((batch, t), jnp.int32), bucket(TARGET))
    others = (share_of(16), *[1] * share_of(full.num_levels - 2))
    for name, levels, steps, first, guidance in (
        ("stage 2, level 1", 1, (share_of(40),), 0, 0.0),
        ("stage 2, others", full.num_levels, others, 1, GUIDANCE),
    ):
        model = AcousticGenerator(dataclasses.replace(full, num_levels=levels), policy)
        tokens = jnp.zeros((batch, t, levels), jnp.int32)
        variables = parameters(model, tokens[:1, :2], method="init_all")
        run = (generators.acoustic_steps, model, variables, steps, first, inputs, tokens, keys, guidance, 1.5)
        found.append(_stage(name, *run))

    codec = AcousticCodec(sizes[configs.AcousticCodecConfig])
    wave = jnp.zeros((1, 4 * codec.config.hop), jnp.float32)
    variables = parameters(codec, wave, jnp.array([wave.shape[1]], jnp.int32))
    codes = jnp.zeros((batch, bucket(TARGET), codec.config.num_levels), jnp.int32)
    decode = jax.jit(lambda variables, codes: codec.apply(variables, codes, lengths - PROMPT, method="decode"))
    flops = count_flops(decode, variables, codes)
    return [*found, Stage("wave", lambda: decode(variables, codes), flops)]


def _stage(name, steps_function, model, variables, steps, first_level, inputs, tokens, keys, guidance, heat) -> Stage:
    schedule = make_schedule(steps, first_level=first_level)
    weight = jnp.float32(guidance) if guidance else None
    decoder = Decoder(schedule, keys, Sampling(jnp.float32(heat), jnp.float32(1), weight))
    jitted = jax.jit(steps_function, static_argnums=0)
    state = DecodeState(tokens, jnp.zeros(tokens.shape[:2], bool))
    zero = jnp.int32(0)

    # The bounds are constants here, so that the loop is a scan whose length the count knows.
    def once(variables):
        return steps_function(model, variables, decoder, inputs, state, zero, schedule.count)

    def run():
        return generators.run_stage(jitted, model, variables, decoder, inputs, tokens)

    return Stage(name, run, count_flops(once, variables))


def release_way(sizes: dict[type, Any]) -> dict[str, float] | None:
    """Seconds per stage of one example, eager and pass by pass; None without torch."""
    try:
        import torch
        import torch_twins
    except ImportError:
        return None
    on_gpu = jax.default_backend() == "gpu"
    if on_gpu and not torch.cuda.is_available():
        return None
    device = "cuda" if on_gpu else "cpu"
    dtype = getattr(torch, _DTYPE.value)

    def loop(config: Any, tables: int, codebook: int, steps: int, prefix: int, is_guided: bool) -> float:
        model = torch_twins.Generator(config.transformer, tables, codebook).to(device, dtype).eval()
        head, model.logits = model.logits, torch.nn.Identity()
        kept = -(-codebook // 50)

        def gumbel(like: torch.Tensor) -> torch.Tensor:
            return -torch.log(-torch.log(torch.rand_like(like).clamp_min(1e-10)).clamp_min(1e-10))

        def run() -> torch.Tensor:
            tokens = torch.zeros(1, TARGET, dtype=torch.long, device=device)
            prompt = torch.zeros(1, prefix, dtype=torch.long, device=device)
            for step in range(steps):
                hidden = model(torch.cat([prompt, tokens], 1))[:, prefix:]
                if is_guided:
                    guided = hidden + GUIDANCE * (hidden - model(tokens))
                    hidden = 0.75 * guided * (hidden.std() / guided.std()) + 0.25 * guided
                logits = head(hidden).float()
                values, indices = logits.topk(kept, dim=-1)
                logits = torch.full_like(logits, float("-inf")).scatter(2, indices, values)
                sampled = (logits + gumbel(logits)).argmax(-1)
                scores = logits.softmax(-1).gather(2, sampled[:, :, None])[:, :, 0]
                scores = 1 - (scores + gumbel(scores))
                count = max(1, int(TARGET * (1 - (step + 1) / steps)))
                tokens = sampled.scatter(1, scores.topk(count, -1).indices, 0)
            return tokens

        with torch.inference_mode():
            return _torch_seconds(run, torch if on_gpu else None)

    semantic, acoustic = sizes[configs.SemanticGeneratorConfig], sizes[configs.AcousticGeneratorConfig]
    levels, codebook = acoustic.num_levels, acoustic.codebook_size
    seconds = {
        "stage 1": loop(semantic, 1, semantic.codebook_size, share_of(25), PHONES + PROMPT, True),
        "stage 2, level 1": loop(acoustic, 1, codebook, share_of(40), PROMPT, False),
        "stage 2, others": loop(acoustic, levels, codebook, share_of(16) + share_of(levels - 2), PROMPT, True),
    }
    codec = sizes[configs.AcousticCodecConfig]
    decoder = torch_twins.WaveDecoder(codec).to(device).eval()
    latents = torch.randn(1, codec.latent_width, TARGET, device=device)
    with torch.inference_mode():
        seconds["wave"] = _torch_seconds(lambda: decoder(latents), torch if on_gpu else None)
    return seconds


def _torch_seconds(run: Callable[[], Any], cuda: Any) -> float:
    def once() -> int:
        run()
        if cuda:
            cuda.cuda.synchronize()
        return 0

    return measure.seconds(once, repeats=1)


def compile_seconds(chain: list[Stage]) -> float:
    """Tracing, lowering and compiling of every stage's first call."""
    with compile_clock() as clock:
        for stage in chain:
            jax.block_until_ready(stage.run())
    return clock.seconds


def measure_batch(sizes: dict[type, Any], policy: Policy, batch: int, limit: float, release: Any) -> None:
    """Prints one table."""
    cold = compile_seconds(generator_stages(sizes, policy, batch))
    jax.clear_caches()
    chain = generator_stages(sizes, policy, batch)
    cached = compile_seconds(chain)
    print(f"\nbatch {batch}\n")
    print("| stage | s | GFLOP | GFLOP/s | of limit | release's way, s | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    rows = [(stage.name, measure.seconds(stage.run), stage.flops) for stage in chain]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    for name, elapsed, flops in rows:
        beside = "not measured | "
        if release:
            eager = batch * (sum(release.values()) if name == "all" else release[name])
            beside = f"{eager:.2f} | {eager / elapsed:.1f}"
        rate = flops / elapsed
        print(f"| {name} | {elapsed:.3f} | {flops / 1e9:.1f} | {rate / 1e9:.0f} | {rate / limit:.0%} | {beside} |")
    audio = batch * TARGET / 50
    steps = "" if _SHARE.value == 1 else f" of {_SHARE.value:g} of the steps"
    print(f"\nRTF {rows[-1][1] / audio:.4f}{steps}; compile {cold:.1f} s cold, {cached:.1f} s from the cache; ", end="")
    print(f"peak memory {measure.peak_gib():.2f} GiB")
    gc.collect()


def stream_long(minutes: float) -> None:
    """Prints how resident memory and speed develop over a long source."""
    sizes = configs.SIZES["tiny"]
    generator = dataclasses.replace(sizes[configs.SemanticGeneratorConfig], condition="gated")
    acoustic = sizes[configs.AcousticGeneratorConfig]
    codec = sizes[configs.AcousticCodecConfig]
    token, level = jnp.zeros((1, 2), jnp.int32), jnp.zeros((1, 2, acoustic.num_levels), jnp.int32)
    one, features = jnp.array([2], jnp.int32), jnp.zeros((1, 2, sizes[configs.SemanticCodecConfig].feature_width))
    ssl = sizes[configs.SslEncoderConfig]
    # A checkpoint holds all layers; the model builds those that it runs.
    ssl_all = SslEncoder(dataclasses.replace(ssl, hidden_layer=ssl.num_layers))
    wave, samples = jnp.zeros((1, 4 * codec.hop)), jnp.array([4 * codec.hop], jnp.int32)
    first = dataclasses.replace(acoustic, num_levels=1)
    semantic_codec = sizes[configs.SemanticCodecConfig]
    components = {
        "ssl_encoder": (ssl, parameters(ssl_all, jnp.zeros((1, 2, ssl.input_width)), one, method="features")),
        "semantic_codec": (semantic_codec, parameters(SemanticCodec(semantic_codec), features, one)),
        "acoustic_codec": (codec, parameters(AcousticCodec(codec), wave, samples)),
        "semantic_generator": (generator, parameters(SemanticGenerator(generator), token, method="init_all")),
        "acoustic_generator_first": (first, parameters(AcousticGenerator(first), level[:, :, :1], method="init_all")),
        "acoustic_generator_full": (acoustic, parameters(AcousticGenerator(acoustic), level, method="init_all")),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        with write_bundle(path, license="none", provenance="random weights") as bundle:
            for name, (config, variables) in components.items():
                bundle.add(name, config, variables)
            bundle.task("se", "semantic_generator")
        metis = Metis.from_pretrained(path, dtype=_DTYPE.value)
        metis.engine.load("se")
        draw = np.random.default_rng(0)
        chunks = (0.1 * draw.normal(size=160000).astype(np.float32) for _ in range(round(6 * minutes)))
        one_step = {"guidance": 0.0, "temperature": 1.0}
        settings = Settings(
            semantic=StageSettings((1,), **one_step),
            first_level=StageSettings((1,), **one_step),
            other_levels=StageSettings((1,), **one_step),
        )
        print("\n| audio, min | compute, s | resident, MiB |\n| ---: | ---: | ---: |")
        started, out, resident = time.perf_counter(), 0.0, []
        for piece in metis.stream("se", chunks, settings=settings):
            out += piece.wave.seconds
            resident.append(_resident_mib())
            if len(resident) % 4 == 0:
                print(f"| {out / 60:.1f} | {time.perf_counter() - started:.1f} | {resident[-1]:.0f} |", flush=True)
        growth = resident[-1] - resident[min(3, len(resident) - 1)]
        print(f"\n{out / 60:.1f} min in {len(resident)} windows; from the fourth to the last {growth:+.0f} MiB")


def _resident_mib() -> float:
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main(_):
    print(measure.environment())
    if _LONG.value:
        stream_long(_LONG.value)
        return
    on_gpu = jax.default_backend() == "gpu"
    policy = Policy(dtype=_DTYPE.value)
    sizes = configs.SIZES[_SIZE.value]
    limit = matrix_product_rate(policy.dtype)
    print(f"{_SIZE.value} size, {_DTYPE.value}; matrix product {limit / 1e9:.0f} GFLOP/s")
    release = release_way(sizes) if _TORCH.value else None
    with tempfile.TemporaryDirectory() as folder:
        use_compilation_cache(folder)
        for batch in map(int, _BATCHES.value):
            measure_batch(sizes, policy, batch, limit, release)
    unmeasured = {"tiny", "full"} - {_SIZE.value}
    print(f"\nNot measured here: {unmeasured.pop()} size" + ("" if on_gpu else "; any accelerator") + ".")


if __name__ == "__main__":
    app.run(main)

"""Examples and audio hours per second of every data pipeline, and the share of a train step spent waiting for data.

    python benchmarks/data.py --shards=SHARDS [--threads=4] [--cached]
    python benchmarks/data.py --shards=TOKEN_SHARDS --stages=pretrain,stage2 --step_ms=100

One worker is one thread that makes batches; CPU time per example holds on a busy machine too.  A device step is stood
for by a sleep of `--step_ms`, which leaves the host idle as an accelerator does; "step for 1%" is the shortest step of
which no more than 1% is spent waiting at this rate.  Without `--shards`, synthetic recordings of 1 to 2 s are made.
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time

import measure

from metis_jax.data.batches.examples import ExampleConfig
from metis_jax.data.batches.pipeline import PartConfig, Pipeline, PipelineConfig
from metis_jax.data.batches.recipes import RecipeConfig
from metis_jax.data.corpus.corpus import Selection
from metis_jax.data.corpus.synthetic import write_synthetic_shards

STAGES = ("ssl_encoder", "acoustic_codec", "pretrain", "stage2", "se", "tse", "vc", "tts", "l2s", "omni")
_OMNI = {"tts": 4.0, "vc": 2.0, "tse": 2.0, "se": 2.0}


def stage_config(name: str, shards: str, rows: int, seconds: float, threads: int, target: str) -> PipelineConfig:
    """The pipeline of a stage, or of a fine-tuning task."""
    everything = Selection(split="all")
    fixed = {"shards": (shards,), "rows": rows, "threads": threads, "prefetch": 2 * threads}
    fixed["recipe"] = RecipeConfig(min_frames=25, prompt_frames=(25, 150))
    if name in ("ssl_encoder", "pretrain", "stage2"):
        return PipelineConfig(stage=name, parts=(PartConfig(select=everything),), **fixed)
    if name == "acoustic_codec":
        return PipelineConfig(stage=name, buckets=(50,), parts=(PartConfig(select=everything),), **fixed)
    tasks = _OMNI if name == "omni" else {name: 1.0}
    parts = tuple(PartConfig(task=task, weight=weight, select=everything) for task, weight in tasks.items())
    return PipelineConfig(
        stage="finetune", parts=parts, example=ExampleConfig(target=target), cached_seconds=seconds, **fixed
    )


@dataclasses.dataclass(frozen=True)
class Rate:
    batches: float  # per second
    audio: float  # seconds per second
    cpu: float  # seconds per batch


def rate(pipeline: Pipeline, duration: float) -> Rate:
    """How fast batches come, after the first ones."""
    iterator = pipeline.iterator()
    for _ in range(pipeline.config.prefetch):
        next(iterator)
    batches, frames, start, cpu = 0, 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - start) < duration:
        frames += int(next(iterator)["lengths"].sum())
        batches += 1
    cpu = time.process_time() - cpu
    iterator.close()
    return Rate(batches / elapsed, frames / 50 / elapsed, cpu / batches)


def waiting_share(pipeline: Pipeline, step_seconds: float, duration: float) -> float:
    """The share of the time that a loop of sleeping steps spends in `next`."""
    iterator = pipeline.iterator()
    next(iterator)
    time.sleep(pipeline.config.prefetch * step_seconds)  # as after the compilation of the first step
    waited, start = 0.0, time.perf_counter()
    while time.perf_counter() - start < duration:
        before = time.perf_counter()
        next(iterator)
        waited += time.perf_counter() - before
        time.sleep(step_seconds)
    elapsed = time.perf_counter() - start
    iterator.close()
    return waited / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", default="")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--target", default="", choices=("", "tokens", "wave"), help="of fine-tuning; by what there is")
    parser.add_argument("--cached", action="store_true", help="keep decoded speech in memory")
    parser.add_argument("--step_ms", type=float, default=100.0)
    parser.add_argument("--duration", type=float, default=5.0, help="seconds per measurement")
    flags = parser.parse_args()
    shards = flags.shards or tempfile.mkdtemp()
    if not flags.shards:
        write_synthetic_shards(pathlib.Path(shards), 200, 0)
    print(measure.environment())
    print(f"batches of {flags.rows} rows, {flags.threads} threads, steps of {flags.step_ms:.0f} ms\n")
    columns = ("pipeline", "CPU ms/example", "examples/s, 1 worker", "audio h/s, 1 worker", "examples/s, all")
    print(f"| {' | '.join(columns)} | step for 1% (ms) | waiting |")
    print("|---|---|---|---|---|---|---|")
    for name in flags.stages.split(","):
        target = flags.target or ("wave" if flags.shards and name in ("se", "tse", "vc", "omni") else "tokens")
        config = stage_config(name, shards, flags.rows, 1e9 if flags.cached else 0.0, flags.threads, target)
        try:
            pipeline = Pipeline(config)
        except ValueError as error:
            print(f"| {name} | {str(error).split(':')[0]} | | | | | |")
            continue
        one = Pipeline(dataclasses.replace(config, threads=1, prefetch=2))
        single = rate(one, flags.duration)
        every = rate(pipeline, flags.duration)
        share = waiting_share(pipeline, flags.step_ms / 1000, flags.duration)
        print(
            f"| {name} | {1000 * single.cpu / flags.rows:.1f} | {single.batches * flags.rows:.0f} | "
            f"{single.audio / 3600:.4f} | {every.batches * flags.rows:.0f} | {1000 / every.batches / 0.99:.0f} | "
            f"{share:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

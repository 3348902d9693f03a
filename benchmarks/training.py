"""Training steps: time, audio seconds per second, achieved FLOP/s beside the device's matrix products, and memory.

    python benchmarks/training.py --size=tiny
    python benchmarks/training.py --size=full --stages=pretrain --attention=cudnn --remat=none

Steps are those of `configs/`, on random batches that lie on the device already, so that the data pipeline (it has a
benchmark of its own) plays no part.  The full size runs the paper's 10K tokens per device: eight rows of 25 s.  FLOPs
are counted in the traced program without what rematerialisation repeats; `share` is achieved over measured rate.
"""

import importlib
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np
from absl import app, flags
from measure import environment, peak_gib

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from metis_jax.sharding import activate, feed, make_mesh
from metis_jax.training.config import TrainConfig
from metis_jax.training.experiment import read_config
from metis_jax.training.state import StateMaker, count_params, make_layout, materialize
from metis_jax.training.steps import make_train_step
from metis_jax.training.throughput import matrix_product_rate, step_flops
from metis_jax.training.trainers.registry import make_trainer

STAGES = (
    *("ssl_encoder", "semantic_codec", "acoustic_codec", "pretrain", "finetune_se:lora", "finetune_se"),
    *("s2a_first", "s2a_full"),
)

_SIZE = flags.DEFINE_enum("size", "tiny", ["tiny", "full"], "Which models.")
_STAGES = flags.DEFINE_list("stages", list(STAGES), "Experiments, with a word after a colon.")
_ROWS = flags.DEFINE_integer("rows", 8, "Rows of a batch.")
_FRAMES = flags.DEFINE_integer("frames", 0, "Frames of a row; 0 for the largest bucket of the experiment.")
_STEPS = flags.DEFINE_integer("steps", 5, "Steps that are timed, after two that are not.")
_DTYPE = flags.DEFINE_string("dtype", "", "Compute dtype, if not the experiment's.")
_REMAT = flags.DEFINE_string("remat", "", "Rematerialisation, if not the experiment's.")
_ATTENTION = flags.DEFINE_string("attention", "", "Attention backend, if not the experiment's.")


def random_batch(config: TrainConfig, model: Any, rows: int, frames: int) -> dict[str, np.ndarray]:
    """A full batch as `metis_jax/data/batches/` makes it."""
    rng = np.random.default_rng(0)
    batch = {"lengths": np.full(rows, frames, np.int32)}
    kind = config.pipeline().stage

    def waves(samples: int) -> np.ndarray:
        return (0.1 * rng.standard_normal((rows, samples))).astype(np.float32)

    if kind in ("pretrain", "stage2"):
        batch["tokens"] = rng.integers(0, 128, (rows, frames)).astype(np.int32)
        if kind == "stage2":
            levels = model.generator.num_levels
            batch["acoustic_tokens"] = rng.integers(0, 64, (rows, frames, levels)).astype(np.int32)
        return batch
    if kind == "acoustic_codec":
        return batch | {"wave": waves(480 * frames), "wave_lengths": np.full(rows, 480 * frames, np.int32)}
    samples = 320 * frames + 240
    wave_lengths = np.full(rows, samples, np.int32)
    if kind in ("ssl_encoder", "semantic_codec"):
        return batch | {"wave": waves(samples), "wave_lengths": wave_lengths}
    return batch | {
        "source": waves(samples),
        "source_lengths": wave_lengths,
        "target": waves(samples),
        "target_lengths": wave_lengths,
        "target_starts": np.zeros(rows, np.int32),
        "has_source": np.ones(rows, bool),
        "prompt_lengths": np.zeros(rows, np.int32),
        "task": np.zeros(rows, np.int32),
    }


def experiment(name: str) -> tuple[TrainConfig, Any]:
    """The config and the trainer of an experiment, executed as the flags ask."""
    name, _, word = name.partition(":")
    words = [word] if word else []
    if _SIZE.value == "tiny":
        words.append("tiny")
    config = read_config(importlib.import_module(f"configs.{name}").get_config(",".join(words)).to_dict())
    trainer = make_trainer(config.stage, config.model)
    asked = {"dtype": _DTYPE.value, "remat": _REMAT.value, "attention": _ATTENTION.value}
    changes = {key: value for key, value in asked.items() if value}
    return config, trainer.executed(**changes)


def measure(name: str) -> dict[str, float]:
    """One trainer, timed."""
    config, trainer = experiment(name)
    mesh = make_mesh(config.mesh)
    rows = _ROWS.value
    host = random_batch(config, trainer, rows, _FRAMES.value or config.pipeline().buckets[-1])
    with activate(mesh):
        layout = make_layout(trainer, config.optimizers, mesh)
        key = jax.random.key(0)
        frozen = materialize(trainer, key, layout.frozen, layout.frozen_shardings, {}, config.half_precision)
        maker = StateMaker(layout, config.optimizers, mesh, ema=bool(config.ema_decay))
        state = maker.begin(materialize(trainer, key, layout.trainable, layout.trainable_shardings, {}))
        batch = feed(host, mesh)
        flops = step_flops(trainer, layout.trainable, layout.frozen, batch)
        step = make_train_step(trainer, config.optimizers, maker.shardings, ema_decay=config.ema_decay)
        began = time.perf_counter()
        for _ in range(2):
            state, metrics = step(state, frozen, batch, key)
        # Fetched, not only waited for: dispatch is asynchronous, and a step timed without a value looks too fast.
        float(metrics["loss"])
        compiled = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(_STEPS.value):
            state, metrics = step(state, frozen, batch, key)
        float(metrics["loss"])
        seconds = (time.perf_counter() - began) / _STEPS.value
    rate = matrix_product_rate(trainer.policy.dtype) * jax.device_count()
    return {
        "trained": count_params(layout.trainable) / 1e6,
        "audio": trainer.seconds(host),
        "seconds": seconds,
        "compile": compiled,
        "flops": flops / seconds,
        "share": flops / seconds / rate,
        "memory": peak_gib(),
    }


def main(_: list[str]) -> None:
    print(f"{_SIZE.value} size, {jax.device_count()} device(s): {environment()}")
    print("measured product rate: ", end="")
    print(", ".join(f"{dtype} {matrix_product_rate(dtype) / 1e9:.0f} GFLOP/s" for dtype in ("float32", "bfloat16")))
    print("\n| trainer | trained, M | audio s | s/step | audio s/s | GFLOP/s | share | peak GiB | first two steps, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in _STAGES.value:
        x = measure(name)
        print(
            f"| {name} | {x['trained']:.2f} | {x['audio']:.0f} | {x['seconds']:.3f} | {x['audio'] / x['seconds']:.0f} "
            f"| {x['flops'] / 1e9:.1f} | {x['share']:.1%} | {x['memory']:.2f} | {x['compile']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)

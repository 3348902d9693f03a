"""Sizes and budgets as runs of `train.py`: each with as many steps as its arithmetic allows, in a folder of its own.

A folder has `sweep.json` (what the run is) beside what `train.py` writes, which resumes; so does the whole sweep.
"""

import dataclasses
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import jax
import ml_collections

from metis_jax.files.inputs import read_json
from metis_jax.files.outputs import write_text
from metis_jax.scaling.program import abstract_batch
from metis_jax.sharding import MeshConfig, make_mesh
from metis_jax.training.experiment import read_config
from metis_jax.training.state import count_params, make_layout
from metis_jax.training.throughput import step_flops
from metis_jax.training.trainers.registry import make_trainer

RUN_FILE = "sweep.json"
HEAD_WIDTH, MLP_RATIO = 64, 4
_SIZE = re.compile(r"(\d+)x(\d+)")


@dataclasses.dataclass(frozen=True)
class SweptRun:
    """One size at one budget.

    Attributes:
      name: of its folder.
      overrides: of the experiment's config.
      parameters, tokens, flops: that are trained, that it sees, and what it costs.
    """

    name: str
    overrides: tuple[str, ...]
    parameters: int
    tokens: int
    flops: float
    steps: int


def parse_sizes(text: str) -> list[tuple[int, int]]:
    """(width, layers) of `192x4,256x6`; ValueError where it is none."""
    found = [_SIZE.fullmatch(size) for size in text.split(",")]
    if not all(found):
        raise ValueError(f"--sizes={text}: give WIDTHxLAYERS, as 192x4,256x6")
    return [(int(size[1]), int(size[2])) for size in found if size]


def plan_runs(
    config: ml_collections.ConfigDict,
    sizes: Sequence[tuple[int, int]],
    budgets: Sequence[float],
    rate_width: int = 0,
) -> list[SweptRun]:
    """Every size at every budget (FLOPs); ValueError without a generator, or for less than a step.

    With a `rate_width` the learning rate of the config is that of this width, and carried from there to all sizes.
    """
    if "generator" not in config.model:
        raise ValueError("a sweep changes config.model.generator, which this experiment has not")
    runs = []
    for width, layers in sizes:
        changed = {"width": width, "num_layers": layers, "num_heads": max(1, width // HEAD_WIDTH)}
        changed |= {"mlp_width": MLP_RATIO * width}
        own = config.copy_and_resolve_references()
        own.model.generator.update(changed)
        parsed = read_config(own.to_dict())
        mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
        trainer = make_trainer(parsed.stage, parsed.model)
        layout = make_layout(trainer, parsed.optimizers, mesh)
        bucket = parsed.pipeline().buckets[-1]
        batch = abstract_batch(parsed, mesh, bucket)
        frames = next(iter(batch.values())).shape[0] * bucket
        flops = step_flops(trainer, layout.trainable, layout.frozen, batch)
        for budget in budgets:
            steps = round(budget / flops)
            if steps < 1:
                raise ValueError(f"a budget of {budget:.3g} is less than a step of {width}x{layers}, {flops:.3g} FLOP")
            size = (f"model.generator.{key}={value}" for key, value in changed.items())
            carried = {f"optimizers.{name}.matrix_rate": rate_width / width for name in own.optimizers if rate_width}
            rates = (f"{key}={value!r}" for key, value in carried.items())
            schedule = (f"optimizers.{name}.total_steps={steps}" for name in own.optimizers)
            runs.append(
                SweptRun(
                    name=f"{width}x{layers}_{budget:.3g}",
                    overrides=(*size, *rates, *schedule, f"steps={steps}", f"eval_every={steps}"),
                    parameters=count_params(layout.trainable),
                    tokens=steps * frames,
                    flops=steps * flops,
                    steps=steps,
                )
            )
    return runs


def command_of(run: SweptRun, experiment: str, workdir: Path, given: Sequence[str]) -> list[str]:
    """What trains it, behind the interpreter; `given` are overrides of all runs."""
    flags = (f"--config.{override}" for override in (*given, *run.overrides))
    return ["-m", "metis_jax.cli.train", f"--config={experiment}", f"--workdir={workdir / run.name}", *flags]


def write_sweep(runs: Sequence[SweptRun], experiment: str, workdir: Path, given: Sequence[str]) -> Path:
    """`commands.txt`, a line each for a cluster's array of jobs, and what each run is in its folder.

    ValueError, before anything is written, for a folder that holds another run of the same name.
    """
    files = {workdir / run.name / RUN_FILE: json.dumps(dataclasses.asdict(run), indent=1) for run in runs}
    for path, text in files.items():
        if path.exists() and read_json(path) != json.loads(text):
            raise ValueError(f"{path.parent}: holds another run, of other flags; use a new --workdir")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    lines = [shlex.join(["python", *command_of(run, experiment, workdir, given)]) for run in runs]
    path = workdir / "commands.txt"
    write_text(path, "\n".join(lines) + "\n")
    return path

"""kill -9 at any moment, then the same command again: nothing is lost but the steps since the last checkpoint."""

import functools
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from training.test_loop import losses

ROOT = pathlib.Path(__file__).parents[2]
STEPS = {"pretrain": 60, "acoustic_codec": 20}


# One optimizer, and one each for a codec and its discriminators.
EXPERIMENTS = {
    "pretrain": {
        "model.generator.width": 16,
        "model.generator.num_layers": 1,
        "model.generator.num_heads": 2,
        "model.generator.mlp_width": 32,
    },
    "acoustic_codec": {
        "tokens_per_device": 50,
        "model.discriminators.periods": (2,),
        "model.discriminators.window_lengths": (512,),
    },
}


def command(name: str, workdir: pathlib.Path) -> list[str]:
    values = {"steps": STEPS[name], "log_every": 1, "checkpoint_every": 5, "eval_every": 0, "sample_every": 0}
    flags = [f"--config.{key}={value}" for key, value in (values | EXPERIMENTS[name]).items()]
    script, experiment = str(ROOT / "train.py"), f"--config=configs/{name}.py:quicktest"
    return [sys.executable, script, experiment, f"--workdir={workdir}", *flags]


def start(name: str, workdir: pathlib.Path) -> subprocess.Popen:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command(name, workdir), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(name: str, workdir: pathlib.Path) -> None:
    process = start(name, workdir)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert f"done at step {STEPS[name]}" in output


def kill_after(name: str, workdir: pathlib.Path, lines: int) -> None:
    """Kills a run, without a warning, some moments after it has logged so many more steps."""
    path = workdir / "metrics.jsonl"
    before = None
    process = start(name, workdir)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        count = len(path.read_text().splitlines()) if path.exists() else 0
        # A run that goes on first drops the lines after its checkpoint; count from there.
        before = count if before is None or count < before else before
        if count >= before + lines:
            break
        time.sleep(0.005)
    time.sleep(random.random() * 0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def final_state(name: str, workdir: pathlib.Path) -> dict[str, bytes]:
    """Every array of the last checkpoint, read without the trainer."""
    path = workdir / "checkpoints" / str(STEPS[name]) / "state"
    with ocp.StandardCheckpointer() as reader:
        tree = reader.restore(path)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Runs without a break, by name."""

    @functools.cache
    def run(name: str) -> pathlib.Path:
        workdir = tmp_path_factory.mktemp(name)
        finish(name, workdir)
        return workdir

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kills", "optimizers"),
    [
        ("pretrain", 2, ("semantic_generator",)),
        ("acoustic_codec", 1, ("acoustic_codec", "discriminators")),
    ],
)
def test_killed_equals_straight_bit_for_bit(straight, tmp_path, name, kills, optimizers):
    random.seed(kills)
    for _ in range(kills):
        kill_after(name, tmp_path, random.randint(2, 8))
    finish(name, tmp_path)
    assert losses(tmp_path) == losses(straight(name))
    state = final_state(name, tmp_path)
    assert state == final_state(name, straight(name))
    assert all(any("moments" in path and optimizer in path for path in state) for optimizer in optimizers)

"""kill -9 at any moment, then the same command again: nothing is lost but the steps since the last checkpoint."""

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
STEPS = 60


def command(workdir: pathlib.Path) -> list[str]:
    values = {
        "steps": STEPS,
        "log_every": 1,
        "checkpoint_every": 5,
        "eval_every": 0,
        "sample_every": 0,
        "model.generator.width": 16,
        "model.generator.num_layers": 1,
        "model.generator.num_heads": 2,
        "model.generator.mlp_width": 32,
    }
    flags = [f"--config.{key}={value}" for key, value in values.items()]
    script, experiment = str(ROOT / "train.py"), "--config=configs/pretrain.py:quicktest"
    return [sys.executable, script, experiment, f"--workdir={workdir}", *flags]


def start(workdir: pathlib.Path) -> subprocess.Popen:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command(workdir), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(workdir: pathlib.Path) -> None:
    process = start(workdir)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert f"done at step {STEPS}" in output


def kill_after(workdir: pathlib.Path, lines: int) -> None:
    """Kills a run, without a warning, some moments after it has logged so many more steps."""
    path = workdir / "metrics.jsonl"
    before = None
    process = start(workdir)
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


def final_state(workdir: pathlib.Path) -> dict[str, bytes]:
    """Every array of the last checkpoint, read without the trainer."""
    path = workdir / "checkpoints" / str(STEPS) / "state"
    with ocp.StandardCheckpointer() as reader:
        tree = reader.restore(path)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("straight")
    finish(workdir)
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 10])
def test_killed_equals_straight_bit_for_bit(straight, tmp_path, kills):
    random.seed(kills)
    for _ in range(kills):
        kill_after(tmp_path, random.randint(2, 8 if kills > 1 else 40))
    finish(tmp_path)
    assert losses(tmp_path) == losses(straight)
    assert final_state(tmp_path) == final_state(straight)

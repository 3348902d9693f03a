"""Several processes train as one does: real ones, which meet on this machine, are told to stop, and are killed."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from metis_jax.cli.processes import missing_another
from metis_jax.files.outputs import lock

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 20
TOKENS = 800  # of a batch, on however many devices
# What differs between two tries of the same run.
TIMES = {"step_seconds", "audio_seconds_per_second", "data_wait_share", "goodput", "mfu"}


def command(workdir: pathlib.Path, experiment: str, changes: dict) -> list[str]:
    sizes = {"width": 16, "num_layers": 1, "num_heads": 2, "mlp_width": 32}
    values = {f"model.generator.{name}": size for name, size in sizes.items()} if experiment == "pretrain" else {}
    values |= {"steps": STEPS, "log_every": 1, "checkpoint_every": 5, "eval_every": 10, "eval_batches": 1}
    values |= {"sample_every": 0, "data.block_batches": 2}
    flags = [f"--config.{key}={value}" for key, value in (values | changes).items()]
    return [f"--config=configs/{experiment}.py:quicktest", f"--workdir={workdir}", *flags]


class Run:
    """The processes of one run, each with `devices`, ended with the context.

    `last` are flags of all but the first; each runs the code in its own one of `clones`.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        processes: int,
        devices: int = 1,
        *flags: str,
        experiment: str = "pretrain",
        last: tuple[str, ...] = (),
        clones: tuple[pathlib.Path, ...] = (),
        **changes,
    ):
        self.workdir, self.processes, self.devices, self.last = workdir, processes, devices, last
        self.clones = clones or (ROOT,) * processes
        shared = {"mesh.data": -1, "tokens_per_device": TOKENS // (processes * devices)}
        self.command = [*command(workdir, experiment, shared | changes), *flags]

    def __enter__(self) -> "Run":
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(self.devices),
            "OMP_NUM_THREADS": "1",
        }
        self.all = []
        for index, clone in enumerate(self.clones):
            meeting = [f"--coordinator=localhost:{port}", f"--processes={self.processes}", f"--process={index}"]
            meeting = meeting if self.processes > 1 else []
            self.all.append(
                subprocess.Popen(
                    [sys.executable, str(clone / "train.py"), *self.command, *meeting, *(self.last if index else [])],
                    cwd=ROOT, env=environment | {"PYTHONPATH": str(clone)}, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )
            )  # fmt: skip
        return self

    def __exit__(self, *_) -> None:
        for process in self.all:
            process.kill()
            process.communicate()

    def wait_for(self, path: pathlib.Path) -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and all(process.poll() is None for process in self.all):
            if path.exists():
                return
            time.sleep(0.05)
        raise AssertionError([process.communicate(timeout=60) for process in self.all if process.poll() is not None])

    def results(self, timeout: float = 300) -> list[tuple[int, str, str]]:
        """(exit status, stdout, stderr) of every process."""
        ended = []
        for process in self.all:
            output, error = process.communicate(timeout=timeout)
            ended.append((process.returncode, output, error))
        return ended

    def finish(self) -> None:
        results = self.results()
        assert [code for code, _, _ in results] == [0] * self.processes, results
        assert f"at step {STEPS}" in results[0][1] and not any("at step" in output for _, output, _ in results[1:])


def lines(workdir: pathlib.Path) -> list[dict]:
    """What a run has told of itself, without times."""
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in TIMES} for line in whole]


def losses(workdir: pathlib.Path) -> np.ndarray:
    return np.array([line["loss"] for line in lines(workdir)])


def finish(workdir: pathlib.Path, *arguments, **changes) -> list[dict]:
    with Run(workdir, *arguments, **changes) as run:
        run.finish()
    return lines(workdir)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """One process with two devices, without a break."""
    workdir = tmp_path_factory.mktemp("straight")
    assert [line["step"] for line in finish(workdir, 1, 2)] == [*range(1, 11), 10, *range(11, 21), 20]
    return workdir


MESHES = {
    "fsdp": {"mesh.data": 1, "mesh.fsdp": -1},
    "tensor": {"mesh.data": -1, "mesh.tensor": 2},
}
CASES = [  # along data alone, runs that went on after a kill are compared below, and to the last bit
    ("fsdp", 2, 1),
    ("tensor", 2, 2),  # inside of each
    ("tensor", 4, 1),  # over two pairs of processes; those of a pair feed the same rows
]


@pytest.mark.slow
@pytest.mark.parametrize(("mesh", "processes", "devices"), CASES)
def test_processes_train_as_one_does(straight, tmp_path, mesh, processes, devices):
    finish(tmp_path, processes, devices, **MESHES[mesh])
    np.testing.assert_allclose(losses(tmp_path), losses(straight), atol=2e-3, rtol=0)
    if mesh == "fsdp":
        bundles_are_the_same(tmp_path)


def bundles_are_the_same(workdir: pathlib.Path) -> None:
    """Of a run whose parameters lie apart, exported by two processes and by one."""
    for processes in (1, 2):
        bundle = f"--export={workdir / f'from_{processes}'}"
        with Run(workdir, processes, 2 // processes, bundle, **MESHES["fsdp"]) as run:
            assert [code for code, _, _ in run.results()] == [0] * processes
    files = {path.name: path.read_bytes() for path in (workdir / "from_1").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (workdir / "from_2").iterdir()}
    assert "semantic_generator.safetensors" in files


def test_what_comes_of_a_missing_process_is_not_taken_for_the_reason():
    lost = RuntimeError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer")
    try:
        raise ValueError("checkpoints/5: is damaged; remove it") from lost
    except ValueError as error:
        assert missing_another(error) is lost
    assert missing_another(ValueError("nowhere: no such shard")) is None


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_the_same_step(straight, tmp_path):
    for number, name in ((signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")):
        workdir = tmp_path / name
        with Run(workdir, 2, steps=100_000, eval_every=0) as run:
            run.wait_for(workdir / "checkpoints" / "5")
            # The first one tells how it was stopped.
            run.all[0 if name == "SIGINT" else 1].send_signal(number)
            results = run.results(timeout=60)
        # The other one does not know which signal it was.
        assert [code for code, _, _ in results] == [128 + number, 128 + signal.SIGTERM], results
        step = lines(workdir)[-1]["step"]
        assert f"stopped by {name} at step {step}; checkpoint saved" in results[0][1]
        assert (workdir / "checkpoints" / str(step)).is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0])
def test_a_killed_process_ends_all_and_the_run_goes_on_bit_for_bit(straight, tmp_path, victim):
    with Run(tmp_path, 2) as run:
        run.wait_for(tmp_path / "checkpoints" / "5")
        run.all[victim].kill()
        code, _, error = run.results(timeout=60)[1 - victim]
    assert code == 3
    own = [line for line in error.splitlines() if line.startswith("train: ")]
    assert len(own) == 1 and error.splitlines()[-1] == own[0] and "goes on from its last checkpoint" in own[0]
    assert "Traceback" not in error and "***" not in error
    # On as many processes, or on one.
    assert finish(tmp_path, *((2, 1) if victim else (1, 2))) == lines(straight)


@pytest.mark.slow
def test_a_folder_in_use_is_refused_to_all(tmp_path):
    with lock(tmp_path / ".lock", "taken"), Run(tmp_path, 2) as run:
        results = run.results(timeout=90)
    assert [code for code, _, _ in results] == [2, 3]
    refusal = f"{tmp_path}: another training runs in this folder; wait for its end, or use another --workdir"
    assert results[0][2].splitlines()[-1] == f"train: {refusal}"
    assert f"process 0 failed: {refusal}" in results[1][2].splitlines()[-1] and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_process_of_another_version_is_refused_before_it_computes(tmp_path):
    """Its package is a copy with one more source."""
    other = tmp_path / "other"
    shutil.copytree(ROOT / "metis_jax", other / "metis_jax", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", other)
    (other / "metis_jax" / "new.py").write_text("x = 1\n")
    with Run(tmp_path / "run", 2, clones=(ROOT, other)) as run:
        results = run.results(timeout=90)
    assert [code for code, _, _ in results] == [3, 2]
    refusal = results[1][2].splitlines()[-1]
    assert refusal.startswith("train: process 1 has metis_jax ") and refusal.endswith("install the same on all hosts")
    assert "failed: process 1 has metis_jax " in results[0][2].splitlines()[-1]
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
def test_a_process_that_fails_says_why_to_all(tmp_path):
    """One of them has no data: as on a host where a folder is not mounted."""
    with Run(tmp_path, 2, last=("--config.synthetic=0", '--config.data.shards=("nowhere",)')) as run:
        results = run.results(timeout=90)
    assert [code for code, _, _ in results] == [3, 2]
    assert results[1][2].splitlines()[-1] == "train: nowhere: no such shard"
    assert (
        "train: process 1 failed: nowhere: no such shard; start all processes again" in results[0][2].splitlines()[-1]
    )

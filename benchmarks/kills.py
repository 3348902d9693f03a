"""What a training of several processes loses to kill -9: killed at random moments, and compared with one left alone.

    python benchmarks/kills.py --kills=20 --workdir=DIR

Two processes train under `metis_jax.cli.launch`, twice: `DIR/alone` undisturbed, `DIR/killed` with one of its processes
killed again and again: which one and when is drawn by the seed, and some kills fall into the start after another one.
Linux alone, for processes are found in /proc.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import measure
from absl import app, flags

_KILLS = flags.DEFINE_integer("kills", 20, "of one process each", 1, 1000)
_WORKDIR = flags.DEFINE_string("workdir", None, "for both runs", required=True)
_STEPS = flags.DEFINE_integer("steps", 2000, "of the run", 10)
_PROCESSES = flags.DEFINE_integer("processes", 2, "of the run", 2, 16)
_SEED = flags.DEFINE_integer("seed", 0, "of the kills")

ROOT = pathlib.Path(__file__).parents[1]
CHECKPOINT_EVERY = 20
AGAIN, START_SECONDS = 0.25, 15.0  # the probability of a kill while all start again, and in how much of that it falls
_POLL_SECONDS = 0.01
# What differs between two tries of the same steps.
TIMES = frozenset(("step_seconds", "audio_seconds_per_second", "data_wait_share", "goodput", "mfu"))


def launched(workdir: pathlib.Path, steps: int, processes: int) -> list[str]:
    """The command line: a reduced generator on synthetic speech, every step logged."""
    values = {"steps": steps, "log_every": 1, "checkpoint_every": CHECKPOINT_EVERY, "eval_every": max(steps // 4, 1)}
    values |= {"sample_every": 0, "mesh.data": -1, "tokens_per_device": 400}
    values |= {f"model.generator.{name}": size for name, size in (("width", 16), ("num_layers", 1), ("num_heads", 2))}
    training = [f"--config={ROOT / 'configs/pretrain.py'}:quicktest", f"--workdir={workdir}"]
    overrides = [f"--config.{name}={value}" for name, value in values.items()]
    return [sys.executable, "-m", "metis_jax.cli.launch", f"--processes={processes}", "--", *training, *overrides]


@contextlib.contextmanager
def running(command: list[str], log: pathlib.Path) -> Iterator[subprocess.Popen]:
    """The launcher, ended with the block, which its children end with."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(log, "wb") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream)
        try:
            yield process
        finally:
            for child in children(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()


def children(parent: int) -> list[int]:
    """Processes that a process has started and that run."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, ppid = stat.read_text().rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state != "Z":
                found.append(int(stat.parent.name))
    return sorted(found)


def rows(workdir: pathlib.Path) -> list[dict]:
    """The lines of `metrics.jsonl` that are whole, without times."""
    path = workdir / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = text.rpartition("\n")[0].splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in TIMES} for line in lines]


@dataclasses.dataclass
class Kill:
    """One process that was killed; `seconds` until a step was taken again, `lost` steps that were taken twice."""

    process: int
    moment: str
    seconds: float = 0.0
    lost: int = 0


class KilledRun:
    """A run whose launcher writes what all say into `log`, from which its fate is read."""

    def __init__(self, command: list[str], log: pathlib.Path, rng: random.Random):
        self._command, self._log, self._rng = command, log, rng

    def run(self, moments: list[int]) -> list[Kill]:
        """One kill, or a few that follow upon each other, at each of the steps; RuntimeError where the run fails."""
        kills: list[Kill] = []
        with running(self._command, self._log) as self._launcher:
            while len(kills) < len(moments):
                self._wait_for_step(moments[len(kills)])
                time.sleep(self._rng.uniform(0.0, 0.1))
                kills.append(self._kill())
                while len(kills) < len(moments) and self._rng.random() < AGAIN:
                    time.sleep(self._rng.uniform(0.0, START_SECONDS))
                    kills.append(self._kill())
                self._recover(kills[-1])
            if status := self._launcher.wait():
                raise RuntimeError(f"the run ended with {status}; {self._log} says why")
        return kills

    def _tries(self) -> list[str]:
        """What each try has said."""
        return re.split(r"launch: ended with .*; start \d+\n", self._log.read_text(encoding="utf-8"))

    def _steps_of_try(self, place: int = -1) -> list[int]:
        return [int(step) for step in re.findall(r" step (\d+)  loss ", self._tries()[place])]

    def _kill(self) -> Kill:
        """Kills one process of the try under way, and waits until the launcher has started all again."""
        count, pids = len(self._tries()), self._wait_for(lambda: children(self._launcher.pid))
        index, self._killed = self._rng.randrange(len(pids)), time.monotonic()
        os.kill(pids[index], signal.SIGKILL)
        self._wait_for(lambda: len(self._tries()) > count)
        steps = self._steps_of_try(-2)
        return Kill(index, f"step {steps[-1]}" if steps else "start")

    def _recover(self, kill: Kill) -> None:
        [first, *_] = self._wait_for(self._steps_of_try)
        kill.seconds = time.monotonic() - self._killed
        before = [step for place in range(-2, -len(self._tries()) - 1, -1) for step in self._steps_of_try(place)]
        kill.lost = max(before) + 1 - first

    def _wait_for_step(self, step: int) -> None:
        """Until the try under way has taken it, or one more where it has begun behind it."""
        due = max(step, self._wait_for(self._steps_of_try)[0] + 1)
        self._wait_for(lambda: self._steps_of_try()[-1] >= due)

    def _wait_for(self, look: Callable[[], Any]) -> Any:
        """What `look` finds, once that is something."""
        while not (found := look()):
            if self._launcher.poll() is not None:
                raise RuntimeError(f"the run ended with {self._launcher.returncode}; {self._log} says why")
            time.sleep(_POLL_SECONDS)
        return found


def main(_: list[str]) -> None:
    rng, workdir = random.Random(_SEED.value), pathlib.Path(_WORKDIR.value).absolute()
    workdir.mkdir(parents=True)
    alone, killed = (launched(workdir / name, _STEPS.value, _PROCESSES.value) for name in ("alone", "killed"))
    with running(alone, workdir / "alone.log") as launcher:
        if status := launcher.wait():
            raise SystemExit(f"kills: the undisturbed run ended with {status}; {workdir / 'alone.log'} says why")
    moments = sorted(rng.sample(range(1, _STEPS.value * 9 // 10), _KILLS.value))
    kills = KilledRun(killed, workdir / "killed.log", rng).run(moments)
    print(f"{measure.environment()}; {_PROCESSES.value} processes, {_STEPS.value} steps, seed {_SEED.value}\n")
    print("| kill | process | at | s until the next step | steps taken again |\n|---|---|---|---|---|")
    for number, kill in enumerate(kills, start=1):
        after = f"{kill.seconds:.1f} | {kill.lost}" if kill.seconds else "killed again before | "
        print(f"| {number} | {kill.process} | {kill.moment} | {after} |")
    same = rows(workdir / "alone") == rows(workdir / "killed")
    print(f"\nmetrics.jsonl, but for times: {'equal to the last bit' if same else 'DIFFERENT'}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    app.run(main)

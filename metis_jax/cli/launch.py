"""Processes of one training on this machine, started again together where one of them is lost.

    metis-launch --processes=2 [--restarts=100] -- --config=X --workdir=DIR ...

What stands behind `--` is given to `metis-train` in every process, with who they are.  A process that is killed ends
all (exit code 3 of the others); the run then goes on from its last checkpoint.  A refusal (exit code 2) ends the
launch, as do three tries in a row that last less than twenty seconds.  Ctrl-C and SIGTERM, to the launch or to one
process, stop all processes after the same step, with a checkpoint and exit code 130 or 143.

On a cluster the same is the work of its scheduler.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from absl import flags

from metis_jax.cli import command

REFUSED = 2
# For the others to notice that one is lost: heartbeats take 30 s, and who still waits for all to meet notices nothing.
PATIENCE_SECONDS = 45
FEWEST_SECONDS = 20  # a try that ends sooner came to nothing
MOST_IN_VAIN = 3  # tries in a row
_POLL_SECONDS = 0.2


class Group:
    """Processes that live and end together."""

    def __init__(self, commands: Sequence[Sequence[str]]):
        self._processes = [subprocess.Popen(one, start_new_session=True) for one in commands]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Passes a signal on."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)

    def wait(self) -> list[int]:
        """Exit statuses of all; where one has failed, the others get time to notice, and are killed then."""
        deadline = None
        while any(process.poll() is None for process in self._processes):
            if deadline is None and any(process.poll() for process in self._processes):
                deadline = time.monotonic() + PATIENCE_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
        return [process.returncode for process in self._processes]


def supervise(commands: Callable[[], Sequence[Sequence[str]]], restarts: int) -> int:
    """Runs a group until it ends well, is refused or told to stop; starts it again otherwise.

    Args:
      commands: of a new group; called before every start, for ports that are free then.
      restarts: the most of them.

    Returns the exit status: 0, that of a refusal or of a signal, or the first other one when nothing more is tried.
    """
    in_vain = 0
    for number in range(restarts + 1):
        begun = time.monotonic()
        group = Group(commands())
        with _passed_on(group) as told:
            statuses = group.wait()
        failed = [status for status in statuses if status]
        if told or REFUSED in failed or all(status > 128 for status in failed):  # all have obeyed a signal
            return REFUSED if REFUSED in failed else _status(failed)
        in_vain = in_vain + 1 if time.monotonic() - begun < FEWEST_SECONDS else 0
        if number == restarts or in_vain == MOST_IN_VAIN:
            print(f"launch: ended with {statuses}; nothing more is tried", file=sys.stderr)
            return _status(failed)
        print(f"launch: ended with {statuses}; start {number + 2}", file=sys.stderr, flush=True)
    return 0


def run_together(commands: Sequence[Sequence[str]]) -> int:
    """Runs a group to its end, once: the exit status, that of the signal where one came meanwhile."""
    group = Group(commands)
    with _passed_on(group) as told:
        statuses = group.wait()
    return 128 + told[0] if told else _status([status for status in statuses if status])


def _status(failed: Sequence[int]) -> int:
    """The exit status for those of processes: 0 without any, 128 and the signal for one that was killed."""
    first = failed[0] if failed else 0
    return first if first >= 0 else 128 - first


@contextlib.contextmanager
def _passed_on(group: Group) -> Iterator[list[int]]:
    """Inside the block SIGTERM and Ctrl-C go to the group; yields those that came."""
    told: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        told.append(number)
        group.stop(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: that of the run, or 2 with one line on stderr."""
    given = list(sys.argv[1:] if argv is None else argv)
    place = given.index("--") if "--" in given else len(given)
    values = command.new_flags()
    flags.DEFINE_integer("processes", 2, "Of the run.", flag_values=values)
    flags.DEFINE_integer("restarts", 100, "The most that are tried.", flag_values=values)
    return command.run("launch", __doc__, values, lambda own: _launch(own, given[place + 1 :]), given[:place])


def _launch(given: flags.FlagValues, training: Sequence[str]) -> int:
    command.check_range("processes", given.processes, 1, 1024)
    command.check_range("restarts", given.restarts, 0, 10**6)
    if not training:
        raise ValueError("give the training's flags behind --, as in: metis-launch -- --config=… --workdir=…")

    def commands() -> list[list[str]]:
        script = [sys.executable, "-m", "metis_jax.cli.train", *training]
        if given.processes == 1:
            return [script]
        meeting = [f"--coordinator=localhost:{_free_port()}", f"--processes={given.processes}"]
        return [[*script, *meeting, f"--process={index}"] for index in range(given.processes)]

    return supervise(commands, given.restarts)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())

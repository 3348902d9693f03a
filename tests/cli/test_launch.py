"""The launcher: who is started, when again, and when not any more.

Its children are small scripts here; tests/training/test_processes.py shows how a training goes on.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from metis_jax.cli import launch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tries(tmp_path):
    """Children that run `code` with the number of the try, from 1 on, as `n`; and the count of tries so far."""
    count = tmp_path / "count"

    def make(*codes: str):
        def commands():
            number = len(count.read_text()) + 1 if count.exists() else 1
            count.write_text("x" * number)
            return [[sys.executable, "-c", f"import os, sys, time\nn = {number}\n{code}"] for code in codes]

        return commands

    make.count = lambda: len(count.read_text())
    return make


def test_a_group_that_ends_well_is_run_once(tries):
    assert launch.supervise(tries("", ""), restarts=5) == 0 and tries.count() == 1


def test_a_lost_process_starts_all_again(tries, monkeypatch, capfd):
    monkeypatch.setattr(launch, "FEWEST_SECONDS", 0)
    killed = "if n < 3: os.kill(os.getpid(), 9)"
    told = "if n < 3: time.sleep(0.5); sys.exit(3)"
    assert launch.supervise(tries(killed, told), restarts=5) == 0 and tries.count() == 3
    assert "ended with [-9, 3]; start 3" in capfd.readouterr().err


def test_a_refusal_is_not_tried_again(tries):
    assert (
        launch.supervise(tries("sys.exit(2)", "time.sleep(0.3); sys.exit(3)"), restarts=5) == 2 and tries.count() == 1
    )


def test_tries_that_come_to_nothing_end(tries, capfd):
    assert launch.supervise(tries("sys.exit(1)"), restarts=50) == 1 and tries.count() == launch.MOST_IN_VAIN
    assert "nothing more is tried" in capfd.readouterr().err


def test_the_status_of_a_killed_process_is_that_of_its_signal(tries):
    assert launch.supervise(tries("os.kill(os.getpid(), 9)"), restarts=0) == 128 + 9


def test_one_that_does_not_notice_is_killed(tries, monkeypatch):
    monkeypatch.setattr(launch, "PATIENCE_SECONDS", 0.5)
    assert launch.supervise(tries("sys.exit(1)", "time.sleep(600)"), restarts=0) == 1


def test_a_signal_reaches_all_and_starts_nothing(tmp_path):
    """The launcher itself is a process here; its children end as a training that is told."""
    code = (
        "import os, signal, sys, time; signal.signal(15, lambda *_: sys.exit(143)); os.write(1, b'x'); time.sleep(60)"
    )
    script = (
        "import sys; from metis_jax.cli import launch; "
        f"sys.exit(launch.supervise(lambda: [[sys.executable, '-c', {code!r}]] * 2, 5))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE)
    assert process.stdout.read(2) == b"xx"  # both hear signals now
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143


def test_a_signal_that_all_processes_have_obeyed_starts_nothing(tries):
    assert launch.supervise(tries("sys.exit(143)", "sys.exit(143)"), restarts=5) == 143


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "launch: give the training's flags behind --, as in: metis-launch -- "),
        (["--processes=0", "--", "x"], "launch: --processes is 0; expected 1 to 1024"),
        (["--proceses=2", "--", "x"], "launch: Unknown command line flag 'proceses'"),
    ],
)
def test_what_is_refused(capsys, arguments, line):
    assert launch.main(arguments) == 2
    assert capsys.readouterr().err.startswith(line)


def test_a_group_that_is_run_once_ends_with_its_own_status_or_that_of_the_signal():
    """So that whoever waits for it does not take one that was stopped for one that is done."""
    assert launch.run_together([[sys.executable, "-c", "raise SystemExit(3)"]]) == 3
    child = "import os, signal, time; signal.signal(signal.SIGTERM, lambda *_: os._exit(0)); "
    child += f"os.kill({os.getpid()}, signal.SIGTERM); time.sleep(60)"
    assert launch.run_together([[sys.executable, "-c", child]]) == 128 + signal.SIGTERM

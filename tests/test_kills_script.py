"""The script that kills a run of two processes, at its smallest: the run goes on by itself, and is what it was."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_launched_run_goes_on_after_a_kill_bit_for_bit(tmp_path):
    command = [sys.executable, "benchmarks/kills.py", "--kills=1", "--steps=40", f"--workdir={tmp_path / 'runs'}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"\| \d \| [01] \| (?:step \d+|start) \|", done.stdout)) == 1
    assert done.stdout.splitlines()[-1] == "metrics.jsonl, but for times: equal to the last bit"

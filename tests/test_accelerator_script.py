"""The script for a machine with an accelerator runs here at the reduced size, and says what failed."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(results, parts, **environment):
    given = os.environ | {"SIZE": "tiny", "PARTS": parts, "JAX_PLATFORMS": "cpu"} | environment
    command = ["bash", "benchmarks/accelerator.sh", str(results)]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True)


@pytest.mark.slow
def test_a_part_is_run_and_kept(tmp_path):
    done = run(tmp_path / "results.md", "attention")
    text = (tmp_path / "results.md").read_text()
    assert done.returncode == 0, done.stderr
    assert "## attention" in text and "| heads |" in text and "exit status 0" in text
    assert "## decode" not in text


def test_a_part_that_fails_is_told(tmp_path):
    """Without packages no part can run; the others are tried all the same."""
    (tmp_path / "python").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    done = run(tmp_path / "results.md", "attention decode", PATH=f"{tmp_path}:{os.environ['PATH']}")
    text = (tmp_path / "results.md").read_text()
    assert done.returncode == 1 and text.count("exit status 3") == 2

"""Commands of the repository, in the test's own process or as their users start them."""

import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What the suite spares itself: see conftest.py.
_SPARED = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")


def users_environment() -> dict[str, str]:
    """For a process whose programs are to be compiled with all optimizations."""
    return {name: value for name, value in os.environ.items() if name not in _SPARED} | {"PYTHONPATH": str(ROOT)}


def run_script(script: str, *flags: str) -> int:
    """The exit status of a script of the repository, run here: to start JAX anew would take longer than most do."""
    before, sys.argv = sys.argv, [script, *flags]
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as end:
        return end.code
    finally:
        sys.argv = before
    raise AssertionError(f"{script} ends without a status")

"""A pytest plugin that prints seconds of CPU, which depend little on what else a machine does.

    PYTHONPATH=tests pytest -p cpu_times tests/layers

Of each file, and of the most expensive tests with their fixtures: this process's, and those of the ended ones that it
started.  Not with `-n`: workers have processes of their own.
"""

import collections
import os

import pytest

_SHOWN = 20
_seconds = collections.Counter()


def _spent() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    before = _spent()
    yield
    _seconds[item.nodeid] += _spent() - before


def pytest_terminal_summary(terminalreporter):
    files = collections.Counter()
    for test, seconds in _seconds.items():
        files[test.partition("::")[0]] += seconds
    terminalreporter.section(f"{files.total():.0f} seconds of CPU in tests, {_spent():.0f} in all")
    for name, seconds in [*files.most_common(), *_seconds.most_common(_SHOWN)]:
        terminalreporter.write_line(f"{seconds:7.1f}  {name}")

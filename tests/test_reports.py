"""What packages log is printed while a command runs, on the streams as they are, and not after it."""

import io
import logging
import sys

import pytest

from metis_jax.reports import reports_of


@pytest.mark.parametrize("package", ["", "metis_jax.text"])
def test_nothing_is_left_behind(package):
    logger = logging.getLogger(package)
    before = list(logger.handlers), logger.level, logger.propagate
    with reports_of(package, level=logging.DEBUG):
        assert len(logger.handlers) == 1
    assert (list(logger.handlers), logger.level, logger.propagate) == before


def test_the_streams_are_those_of_the_moment(monkeypatch, capsys):
    """A stream that was closed since the command began is not written to."""
    with reports_of("metis_jax.text", to_stdout=True):
        for stream in ("stdout", "stderr"):
            monkeypatch.setattr(sys, stream, io.StringIO())
        logging.getLogger("metis_jax.text.espeak").info("news")
        logging.getLogger("metis_jax.text.espeak").warning("trouble")
        assert (sys.stdout.getvalue(), sys.stderr.getvalue()) == ("news\n", "trouble\n")


def test_of_talkative_packages_warnings_alone(capsys):
    with reports_of(warnings_alone=("orbax",)):
        logging.getLogger("orbax.checkpoint").info("saved")
        logging.getLogger("orbax.checkpoint").warning("slow")
        logging.getLogger("metis_jax").info("step 1")
    assert capsys.readouterr() == ("", "slow\nstep 1\n")

"""Checkpoints of a run: state, data position and config, each saved whole or not at all.  Only this file knows Orbax.

Where a run begins, first that applies: its own last checkpoint; the last one under `config.resume`; the bundles of
`config.initial`; fresh parameters.  (`run.py` follows this order.)
"""

import contextlib
import dataclasses
import functools
import logging
import os
import pathlib
import re
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import orbax.checkpoint as ocp

from metis_jax.training.state import TrainState


class CheckpointError(ValueError):
    """A checkpoint that could not be written, with what the system said, or that can not be read: names the folder."""


@functools.cache
def _hush() -> None:
    """Leaves one report of a failed write, the exception.

    Orbax also logs it from each of its threads, asyncio tells of each other array whose write failed when nobody asked
    for it, Python warns of writes that were never begun, and TensorStore's threads then call event loops that Orbax has
    closed.
    """
    logging.getLogger("absl").addFilter(lambda record: not (record.exc_info and "orbax" in record.pathname))
    logging.getLogger("asyncio").addFilter(
        lambda record: not (record.exc_info and "os_error_code" in str(record.exc_info[1]))
    )
    warnings.filterwarnings("ignore", r"coroutine .* was never awaited", RuntimeWarning)
    before = sys.unraisablehook

    def hook(raised) -> None:
        if not (raised.exc_type is RuntimeError and str(raised.exc_value) == "Event loop is closed"):
            before(raised)

    sys.unraisablehook = hook


@dataclasses.dataclass(frozen=True)
class Restored:
    """state; data: state of the batch iterator; about: what was said of the run when it was saved."""

    step: int
    state: TrainState
    data: dict[str, Any]
    about: dict[str, Any]


class Checkpoints:
    """The checkpoints under one folder.  Saving goes on in the background; a half-written one is never seen."""

    def __init__(self, folder: pathlib.Path, *, keep: int = 2, keep_period: int = 0):
        _hush()
        self._folder = folder.absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, keep_period=keep_period or None, cleanup_tmp_directories=True, create=True
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: TrainState, data: dict[str, Any], about: dict[str, Any]) -> None:
        """Copies the state off the devices and returns; the files follow."""
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data), about=ocp.args.JsonSave(about)
        )
        with self._writing():
            self._manager.save(step, args=items, force=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax passes on whatever its threads met
            # TensorStore puts the number of the system's error into a long text.
            number = re.search(r"os_error_code='(\d+)'", str(error))
            reason = os.strerror(int(number[1])) if number else getattr(error, "strerror", None) or error
            raise CheckpointError(f"{self._folder}: a checkpoint can not be written: {reason}") from error

    def read_about(self, step: int) -> dict[str, Any]:
        """What was said of the run; readable without knowing its state."""
        with self._reading(step):
            return dict(self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"])

    def read_data(self, step: int) -> dict[str, Any]:
        """Where the data goes on; readable alike."""
        with self._reading(step):
            return dict(self._manager.restore(step, args=ocp.args.Composite(data=ocp.args.JsonRestore()))["data"])

    def restore(self, step: int, target: TrainState) -> Restored:
        """Into shapes and shardings of `target`, whatever mesh the checkpoint was written on."""
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(target), data=ocp.args.JsonRestore(), about=ocp.args.JsonRestore()
        )
        with self._reading(step):
            found = self._manager.restore(step, args=items)
            return Restored(step, found["state"], dict(found["data"]), dict(found["about"]))

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # its files are read by three libraries, each with errors of its own
            before = [one for one in self.steps() if one < step]
            then = f"go on from step {before[-1]}" if before else "begin again"
            raise CheckpointError(f"{self._folder / str(step)}: is damaged; remove it to {then}") from error

    def set_aside(self, steps: Sequence[int]) -> None:
        """Moves checkpoints to a folder beside, where they are in nobody's way."""
        if not steps:
            return
        aside = self._folder.with_name(f"{self._folder.name}_damaged")
        aside.mkdir(exist_ok=True)
        for step in steps:
            shutil.rmtree(aside / str(step), ignore_errors=True)
            os.rename(self._folder / str(step), aside / str(step))
        self._manager.reload()

    def wait(self) -> None:
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for files still being written."""
        self.wait()
        self._manager.close()

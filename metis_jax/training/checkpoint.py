"""Checkpoints of a run: state, data position and config, each saved whole or not at all.  Only this file knows Orbax.

Where a run begins, first that applies: its own last checkpoint; the last one under `config.resume`; the bundles of
`config.initial`; fresh parameters.  (`run.py` follows this order.)
"""

import dataclasses
import pathlib
from typing import Any

import orbax.checkpoint as ocp

from metis_jax.training.state import TrainState


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
        self._manager.save(step, args=items, force=True)

    def read_about(self, step: int) -> dict[str, Any]:
        """What was said of the run; readable without knowing its state."""
        return dict(self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"])

    def restore(self, step: int, target: TrainState) -> Restored:
        """Into shapes and shardings of `target`, whatever mesh the checkpoint was written on."""
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(target), data=ocp.args.JsonRestore(), about=ocp.args.JsonRestore()
        )
        found = self._manager.restore(step, args=items)
        return Restored(step, found["state"], dict(found["data"]), dict(found["about"]))

    def reached_preemption(self, step: int) -> bool:
        """With several processes: whether any of them was told to stop.  All of them must ask at every step."""
        return self._manager.reached_preemption(step)

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for files still being written."""
        self._manager.wait_until_finished()
        self._manager.close()

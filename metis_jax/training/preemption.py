"""Being told to stop: SIGTERM and Ctrl-C end the run after the step under way, with a checkpoint.

With several processes a signal to any of them ends all after the same step.  JAX agrees on that step in the background,
at no cost to the others; it has taken SIGTERM over for that, so Ctrl-C is passed on to it as one.
"""

import os
import signal
from types import FrameType, TracebackType

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """While entered, the first SIGTERM or SIGINT is noted instead of ending the process; the second one ends it.

    Of several processes the second Ctrl-C ends one, and with it the others.
    """

    def __init__(self) -> None:
        self.name = ""
        self._is_shared = jax.process_count() > 1
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT,) if self._is_shared else (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        signal.signal(number, self._before[number])
        if self._is_shared:
            os.kill(os.getpid(), signal.SIGTERM)

    def reached(self, step: int) -> bool:
        """Whether the run stops after `step`.  Every process must ask after every step; all get the same answer."""
        if not self._is_shared:
            return bool(self.name)
        stops = multihost_utils.reached_preemption_sync_point(step)
        if stops:
            self.name = self.name or signal.SIGTERM.name
        return stops

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

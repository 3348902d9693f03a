"""A trace of some steps, for TensorBoard or Perfetto: what the devices did, and what they waited for."""

import logging
import pathlib
import re
from types import TracebackType

import jax

log = logging.getLogger(__name__)

FOLDER = "profile"
_STEPS = re.compile(r"(?:(\d+):)?([1-9]\d*)")


class Profile:
    """Traces `count` steps of a call, from its step number `first` on (0 is the first; it compiles).

    Entered around the loop, so that a run that ends meanwhile writes what there is.
    """

    def __init__(self, first: int, count: int, workdir: pathlib.Path):
        self._first, self._last, self._folder = first, first + count, workdir / FOLDER
        self._taken, self._is_tracing = 0, False

    @classmethod
    def parse(cls, text: str, workdir: pathlib.Path) -> "Profile":
        """Of `COUNT`, which leaves the first ten steps out, or `FIRST:COUNT`; ValueError for anything else."""
        found = _STEPS.fullmatch(text)
        if not found:
            raise ValueError(f"--profile={text}: give COUNT or FIRST:COUNT, numbers of steps")
        return cls(int(found[1] or 10), int(found[2]), workdir)

    def step(self, metrics: object) -> None:
        """After a step was started, whose outputs `metrics` are."""
        self._taken += 1
        if self._is_tracing and self._taken >= self._last:
            jax.block_until_ready(metrics)
            self._stop()
        elif not self._is_tracing and self._first <= self._taken < self._last:
            jax.block_until_ready(metrics)
            jax.profiler.start_trace(str(self._folder))
            self._is_tracing = True

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._is_tracing = False
        log.info("trace of %d steps in %s", self._taken - self._first, self._folder)

    def __enter__(self) -> "Profile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_tracing:
            self._stop()

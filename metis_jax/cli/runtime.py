"""A clock for compilation, which commands that compute set up."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax

_LOWERED, _COMPILED = (f"/jax/core/compile/{phase}_duration" for phase in ("jaxpr_to_mlir_module", "backend_compile"))
_COMPILE_EVENTS = frozenset(("/jax/core/compile/jaxpr_trace_duration", _LOWERED, _COMPILED))
_PATIENCE = 1.0  # seconds; programs that are kept are read in less


class CompileClock:
    """Seconds spent on tracing, lowering and compiling since it was started; made by `compile_clock`."""

    def __init__(self, announce: Callable[[], None]):
        self.seconds = 0.0
        self._announce: Callable[[], None] | None = announce
        self._waiting: threading.Timer | None = None

    def __call__(self, event: str, duration: float, **_: object) -> None:
        if event in _COMPILE_EVENTS:
            self.seconds += duration
        if event == _LOWERED and self._announce:
            self.stop()
            self._waiting = threading.Timer(_PATIENCE, self._say)
            self._waiting.daemon = True
            self._waiting.start()
        elif event == _COMPILED:
            self.stop()

    def stop(self) -> None:
        if self._waiting:
            self._waiting.cancel()

    def _say(self) -> None:
        announce, self._announce = self._announce, None
        if announce:
            announce()


@contextmanager
def compile_clock(announce: Callable[[], None] = lambda: None) -> Iterator[CompileClock]:
    """A clock that runs inside the block; `announce` is called once, when a program is seen to be compiled."""
    clock = CompileClock(announce)
    jax.monitoring.register_event_duration_secs_listener(clock)
    try:
        yield clock
    finally:
        jax.monitoring.unregister_event_duration_listener(clock)
        clock.stop()

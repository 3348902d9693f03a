"""Being told to stop: SIGTERM and Ctrl-C end the run after the step under way, with a checkpoint."""

import signal
from types import FrameType, TracebackType


class StopRequest:
    """While entered, the first SIGTERM or SIGINT is noted instead of ending the process; the second one ends it."""

    def __init__(self) -> None:
        self.name = ""
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        signal.signal(number, self._before[number])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

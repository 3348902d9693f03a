"""What packages log, printed while a command runs, and no longer."""

import logging
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager


class _Printed(logging.Handler):
    """Prints on the standard streams as they are when something is logged."""

    def __init__(self, to_stdout: bool):
        super().__init__()
        self._to_stdout = to_stdout

    def emit(self, record: logging.LogRecord) -> None:
        news = self._to_stdout and record.levelno < logging.WARNING
        print(self.format(record), file=sys.stdout if news else sys.stderr, flush=True)


@contextmanager
def reports_of(
    package: str = "",
    *,
    level: int = logging.INFO,
    line: str = "%(message)s",
    to_stdout: bool = False,
    warnings_alone: Collection[str] = (),
) -> Iterator[None]:
    """Inside the block what a package logs is printed on stderr, and by nobody else; "" is all packages.

    With `to_stdout` what is no warning goes there.  Of the packages in `warnings_alone` nothing else is printed.
    """
    handler = _Printed(to_stdout)
    handler.setFormatter(logging.Formatter(line))
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or _top(record) not in warnings_alone)
    logger = logging.getLogger(package)
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.handlers, _, logger.propagate = before
        logger.setLevel(before[1])


def _top(record: logging.LogRecord) -> str:
    return record.name.partition(".")[0]

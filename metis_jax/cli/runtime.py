"""What commands that compute set up: the persistent compilation cache, a clock for compilation, a package's reports."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from metis_jax.files.caches import cache_folder, make_private, trim

_COMPILE_EVENTS = frozenset(
    f"/jax/core/compile/{phase}_duration" for phase in ("jaxpr_trace", "jaxpr_to_mlir_module", "backend_compile")
)


def default_cache() -> Path:
    """JAX's own setting if there is one, else a folder under the user's caches."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return cache_folder("programs")


def use_compilation_cache(folder: str | None) -> None:
    """Keeps compiled programs in `folder` (None: the default; "off": not at all).

    A folder that can not be written, or that others can write, costs time, not the result: it is reported and left
    alone.  The default one stays below `caches.MOST_BYTES`.
    """
    if folder == "off":
        jax.config.update("jax_enable_compilation_cache", False)
        return
    try:
        path = Path(folder) if folder else default_cache()
        make_private(path)
        if path == cache_folder("programs"):
            trim(path)
    except OSError as error:
        print(f"{path}: no compilation cache there ({error.strerror})", file=sys.stderr)
        return
    except ValueError as error:
        print(f"no compilation cache: {error}", file=sys.stderr)
        return
    except RuntimeError:  # a user whom the system does not know, as in containers
        print("no compilation cache: there is no home folder; set HOME or XDG_CACHE_HOME", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    # Every program counts: by default only those are kept that took a second to compile.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


class CompileClock:
    """Seconds spent on tracing, lowering and compiling since it was started; made by `compile_clock`."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self, event: str, duration: float, **_: object) -> None:
        if event in _COMPILE_EVENTS:
            self.seconds += duration


@contextmanager
def compile_clock() -> Iterator[CompileClock]:
    """A clock that runs inside the block."""
    clock = CompileClock()
    jax.monitoring.register_event_duration_secs_listener(clock)
    try:
        yield clock
    finally:
        jax.monitoring.unregister_event_duration_listener(clock)


class _Printed(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout)


@contextmanager
def reports_of(package: str) -> Iterator[None]:
    """Inside the block what a package logs is printed, warnings on stderr."""
    logger, handler = logging.getLogger(package), _Printed()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)

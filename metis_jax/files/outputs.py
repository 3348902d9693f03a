"""Files and folders that appear whole or not at all, and stay whatever happens to the machine afterwards.

They are written beside their place under a hidden name, synced and renamed.  A run that is killed leaves that name
behind, but not its lock: the next process that writes into the folder removes it.
"""

import contextlib
import errno
import fcntl
import functools
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

_PARTIAL = re.compile(r"\.[0-9a-f]{12}\.partial")
_FULL = 1 << 20  # bytes left on a disk on which a write fails for want of room


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Where to write a file that replaces `path` when the block ends, and is gone when it raises."""
    path = Path(path)
    with _partial(path, lambda place: os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))) as partial:
        yield partial
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Where to fill a folder that becomes `path`, which does not exist, when the block ends; gone when it raises."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path, os.mkdir) as partial:
        yield partial
        for place in (*partial.rglob("*"), partial):
            _sync(place)
        os.rename(partial, path)
        _sync(path.parent)


def write_text(path: str | os.PathLike, text: str) -> None:
    """A UTF-8 file, as `new_file` has it."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def lock(path: str | os.PathLike, refusal: str) -> Iterator[None]:
    """Holds the lock that is the file `path`, until the process ends at the latest; ValueError if another one does."""
    handle = None
    while handle is None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o666))
        handle = _claimed(Path(path), refusal)
    try:
        yield
    finally:
        _remove(Path(path))
        os.close(handle)


@contextlib.contextmanager
def _partial(path: Path, create: Callable[[Path], None]) -> Iterator[Path]:
    _sweep(path.parent)
    partial, handle = path, None
    try:
        while handle is None:
            partial = path.with_name(f".{secrets.token_hex(6)}.partial")
            create(partial)
            handle = _claimed(partial)
        yield partial
    except (OSError, RuntimeError) as error:
        # libsndfile, numpy and ArrayRecord do not say why a write failed.
        if getattr(error, "errno", None) is None and shutil.disk_usage(path.parent).free < _FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if isinstance(error, OSError) and error.filename and os.fspath(error.filename) == str(partial):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        if handle is not None:
            _remove(partial)
            os.close(handle)


def _claimed(place: Path, refusal: str = "") -> int | None:
    """An open handle that holds the lock on a file or folder; None where it was removed before it was locked.

    Of one that another process has locked and keeps a ValueError says `refusal`, if there is any.
    """
    try:
        handle = os.open(place, os.O_RDONLY)
    except FileNotFoundError:
        return None
    is_locked = _locked(handle)
    if is_locked and os.fstat(handle).st_nlink and place.exists():
        return handle
    os.close(handle)
    if refusal and not is_locked:
        raise ValueError(refusal)
    return None


def _locked(handle: int) -> bool:
    """Whether the lock is ours now; a file system without locks has none to miss."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@functools.cache
def _sweep(folder: Path) -> None:
    """Removes what killed runs left in a folder; once in a process."""
    with contextlib.suppress(OSError):
        for place in folder.iterdir():
            if _PARTIAL.fullmatch(place.name):
                _remove_if_left(place)


def _remove_if_left(partial: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(partial, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(partial)
        finally:
            os.close(handle)


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _sync(place: Path) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that does not sync folders
            raise
    finally:
        os.close(handle)

"""Folders of a user's own under their caches.

What lies in a cache is believed: programs are run, pickles are opened.  So nobody else may be able to write there.
"""

import contextlib
import functools
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metis_jax.files.outputs import write_text

MOST_BYTES = 4 << 30
_MOST_ANSWER_BYTES = 16 << 20


def cache_folder(name: str) -> Path:
    """A folder under the user's caches, which may not be there.  RuntimeError for a user without a home."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "metis_jax" / name


def make_private(path: Path) -> None:
    """Makes the folder, closed to others if it is new; OSError or ValueError if it can not be one of the user's own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.stat()
    if status.st_uid != os.geteuid() or status.st_mode & stat.S_IWOTH:
        raise ValueError(f"{path}: others can write there")


def private_cache(name: str) -> Path | None:
    """The folder `name` under the user's caches; None where there can be none."""
    try:
        path = cache_folder(name)
        make_private(path)
    except (OSError, ValueError, RuntimeError):
        return None
    return path


@functools.cache
def state_of_package() -> str:
    """What the package's own files are: where they lie, how large they are and when they were written.

    It is another one after every change, so that it can name what was made by their code.
    """
    root = Path(__file__).parents[1]
    found = sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*.py"))
    return hashlib.sha256(repr(found).encode()).hexdigest()


def answer_of(name: str, question: object, answer: Callable[[], Any]) -> Any:
    """`answer()`, something that JSON can hold; kept in the cache `name` until the package changes.

    `question` is what it depends on besides the package's code, and is known by its `repr`.
    """
    folder = private_cache(name)
    if folder is None:
        return answer()
    asked = hashlib.sha256(repr((question, state_of_package())).encode()).hexdigest()
    path = folder / f"{asked}.json"
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_bytes())
    found = answer()
    with contextlib.suppress(OSError):
        trim(folder, _MOST_ANSWER_BYTES)
        write_text(path, json.dumps(found))
    return found


def trim(path: Path, most_bytes: int = MOST_BYTES) -> None:
    """Removes the files of a folder that were written first, until the rest fits."""
    try:
        files = [(entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(path)]
    except OSError:  # somebody else is removing them
        return
    excess = sum(size for _, size, _ in files) - most_bytes
    for _, size, file in sorted(files):
        if excess <= 0:
            return
        Path(file).unlink(missing_ok=True)
        excess -= size

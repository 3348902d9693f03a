"""Folders of a user's own under their caches.

What lies in a cache is believed: programs are run, pickles are opened.  So nobody else may be able to write there.
"""

import os
import stat
from pathlib import Path

MOST_BYTES = 4 << 30


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

"""What lies in folders."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_under(folder: Path) -> Iterator[Path]:
    """All files in a folder and in those below it, sorted; links to folders are followed, each folder once."""
    seen, found = set(), []
    for place, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        found += [Path(place, name) for name in names]
    yield from sorted(found)

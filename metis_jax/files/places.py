"""Where files are: folders of this machine, never the address of an object store."""

import os
import re

# `gs://bucket/x`, also behind NAME=, and what `Path` makes of it; a drive's letter is no scheme.
_ADDRESS = re.compile(r"(?:\w+=)?[A-Za-z][A-Za-z0-9+.-]+:/")


def check_is_local(path: str | os.PathLike) -> None:
    """ValueError for the address of a bucket, which would be taken for a folder of a strange name."""
    if _ADDRESS.match(os.fspath(path)):
        raise ValueError(f"{path}: only folders of this machine are read and written; mount the bucket and name that")

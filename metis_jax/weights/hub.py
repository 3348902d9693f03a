"""Folders of the Hugging Face hub (extra `hub`): downloaded once, then read from its cache, offline too."""

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metis_jax.weights.tensor_files import WeightsError

SCHEME = "hub:"
_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[^\s@]+)?")


def snapshot(name: str, patterns: Sequence[str], *, revision: str | None = None) -> Path:
    """The files of a repository that match, in the cache of the hub's client; WeightsError for what can not be had.

    Args:
      name: OWNER/NAME or OWNER/NAME@REVISION.
      patterns: globs of the files.
      revision: where the name has none; None for the newest.
    """
    if not _NAME.fullmatch(name):
        raise WeightsError(f"{SCHEME}{name}: expected {SCHEME}OWNER/NAME or {SCHEME}OWNER/NAME@REVISION")
    repository, _, own = name.partition("@")
    hub = client(f"{SCHEME}{repository}")
    try:
        return Path(hub.snapshot_download(repository, revision=own or revision, allow_patterns=list(patterns)))
    except Exception as error:  # the library raises its own, requests' and httpx's errors
        raise WeightsError(f"{SCHEME}{name}: download failed ({one_line(error)})") from None


def check_name(name: str) -> None:
    """WeightsError unless `name` is OWNER/NAME, without a revision."""
    if not _NAME.fullmatch(name) or "@" in name:
        raise WeightsError(f"{name}: expected OWNER/NAME of a repository of the hub")


def client(wanted: str) -> Any:
    """The hub's client; WeightsError, which begins with what it is wanted for, where it is not installed."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise WeightsError(f"{wanted} needs huggingface_hub; pip install 'metis_jax[hub]'") from None


def one_line(error: Exception) -> str:
    """The first line of what the client says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

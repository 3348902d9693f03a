"""Compiled programs are kept on disk, so that the next start finds them: of the commands, and of the class `Metis`."""

import logging
import os
import sys
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from metis_jax.files.caches import cache_folder, make_private, trim

_log = logging.getLogger(__name__)


def default_cache() -> Path:
    """JAX's own setting if there is one, else a folder under the user's caches."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return cache_folder("programs")


def use_compilation_cache(folder: str | None) -> None:
    """Keeps compiled programs in `folder` (None: the default; "off": not at all), as the commands do.

    A folder that can not be written, or that others can write, costs time, not the result: it is reported and left
    alone.  The default one stays below `caches.MOST_BYTES`.
    """
    if folder == "off":
        jax.config.update("jax_enable_compilation_cache", False)
    elif reason := _keep(folder):
        print(reason, file=sys.stderr)


def keep_programs() -> None:
    """Keeps compiled programs in the default folder, unless the process has said where, or that it keeps none."""
    if jax.config.jax_enable_compilation_cache and not jax.config.jax_compilation_cache_dir:
        if reason := _keep(None):
            _log.info(reason)


def kept_in() -> str:
    """The folder that programs are kept in; empty where they are not kept."""
    return (jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir) or ""


def _keep(folder: str | None) -> str:
    """Why the folder can keep none; empty where it does."""
    try:
        path = Path(folder) if folder else default_cache()
        make_private(path)
        if path == cache_folder("programs"):
            trim(path)
    except OSError as error:
        return f"{path}: no compilation cache there ({error.strerror})"
    except ValueError as error:
        return f"no compilation cache: {error}"
    except RuntimeError:  # a user whom the system does not know, as in containers
        return "no compilation cache: there is no home folder; set HOME or XDG_CACHE_HOME"
    jax.config.update("jax_compilation_cache_dir", str(path))
    # Every program counts: by default only those are kept that took a second to compile.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # JAX decides at its first program whether there is a cache, and a notebook has had some.
    compilation_cache.reset_cache()
    return ""

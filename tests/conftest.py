"""Strict JAX for every test: eight fake CPU devices, no silent rank or dtype promotion, checked shape annotations.

A program is compiled once for all workers and for the commands that tests start: they share a cache, which begins empty
and goes with the run, unless JAX_COMPILATION_CACHE_DIR names another.
"""

import atexit
import os
import shutil
import signal
import tempfile

# A shell starts what runs in the background with Ctrl-C ignored, and commands would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="programs")  # which workers inherit
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

from jaxtyping import install_import_hook

install_import_hook("metis_jax", "beartype.beartype")

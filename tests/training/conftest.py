"""Compiled programs are shared between the runs of a session, those in processes of their own included."""

import os

import jax
import pytest


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = str(tmp_path_factory.mktemp("compiled"))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        jax.config.update("jax_compilation_cache_dir", folder)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

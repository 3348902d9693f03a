"""Strict JAX for every test: eight fake CPU devices, no silent rank or dtype promotion, checked shape annotations.

Compiling was most of the time of the suite.  A program is compiled once for all workers and for the commands that
tests start: they share a cache, which begins empty and goes with the run, unless JAX_COMPILATION_CACHE_DIR names
another.  And it is compiled without most optimizations, a third of the work: it runs a few times, on small arrays.
Commands that are to run as their users run them take `users_environment` (commands.py).
"""

import atexit
import functools
import importlib.util
import os
import shutil
import signal
import tempfile

# A shell starts what runs in the background with Ctrl-C ignored, and commands would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="programs")  # which workers inherit
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
if os.environ.setdefault("JAX_PLATFORMS", "cpu") == "cpu":
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

from jaxtyping import install_import_hook

install_import_hook("metis_jax", "beartype.beartype")


def pytest_collection_modifyitems(items):
    for item in items:
        for mark in item.iter_markers("extra"):
            extra, *packages = mark.args
            if any(importlib.util.find_spec(package) is None for package in packages):
                item.add_marker(pytest.mark.skip(reason=f"needs the {extra} extra"))


@pytest.fixture(scope="module")
def one_device():
    """A run finds one device, where what is tested has nothing to do with many: less to compile, and to wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda *_: jax.local_devices()[:1])
        patch.setattr(jax, "device_count", lambda *_: 1)
        yield


def _remembered(function, known):
    """The function, which gives for equal arguments what it gave before; of arrays shapes and types are compared."""

    def key(leaf):
        if hasattr(leaf, "dtype"):
            return leaf.shape, leaf.dtype
        try:
            hash(leaf)
        except TypeError:
            return id(leaf)
        return leaf

    @functools.wraps(function)
    def again(*arguments, **options):
        leaves, tree = jax.tree.flatten((arguments, options))
        asked = (function, tree, *map(key, leaves))
        if asked not in known:
            known[asked] = function(*arguments, **options), leaves  # which must outlive their id
        return known[asked][0]

    return again


_PROGRAMS = {}


@pytest.fixture(scope="module")
def shared_programs():
    """Runs of one trainer on the same devices share what they trace and compile; which they otherwise make anew."""
    from metis_jax.training import loop, run, state

    made = {
        run: ("make_eval_step", "make_layout", "make_train_step", "StateMaker"),
        loop: ("step_flops",),
        state: ("make_draw",),
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, names in made.items():
            for name in names:
                patch.setattr(module, name, _remembered(getattr(module, name), _PROGRAMS))
        yield

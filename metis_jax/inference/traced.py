"""Functions of a model that are traced once, not at every start.

JAX keeps what its compiler made, but to find it again it traces and lowers the function anew: for a few seconds of
sound that takes longer than the sound.  So what was lowered (StableHLO, by `jax.export`) is kept beside the compiled
programs, under a name that says all it depends on: the function, the model, the shapes, the files of the package, the
versions and the settings of JAX.
"""

import contextlib
import functools
import hashlib
import pickle
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
from jax import export

from metis_jax.files.caches import state_of_package
from metis_jax.files.outputs import new_file
from metis_jax.inference.programs import kept_in

# Settings of JAX that change what is lowered.
_SETTINGS = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_threefry_partitionable",
)
_DIGEST = hashlib.sha256().digest_size


class Traced:
    """`function(model, *arguments)`, jitted, of which traces are kept where compiled programs are.

    The model is static; arguments and result are trees of arrays.  Over several devices, and on others than CPUs, where
    it was not tried, nothing but the compiled programs is kept.
    """

    def __init__(self, function: Callable[..., Any]):
        self._jitted = jax.jit(function, static_argnums=0)
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._ready: dict[Any, Callable[..., Any]] = {}
        functools.update_wrapper(self, function)

    def __call__(self, model: nn.Module, *arguments: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        folder = kept_in()
        if not folder or not all(_is_on_one_cpu(leaf) for leaf in leaves):
            return self._jitted(model, *arguments)
        shapes = tuple(map(jax.typeof, leaves))
        asked = (model, tree, shapes)
        if asked not in self._ready:
            name = hashlib.sha256(repr((self._name, model, str(tree), shapes, _surroundings())).encode()).hexdigest()
            path = Path(folder) / f"{self._jitted.__name__}-{name}-trace"
            kept = _read(path) or self._kept(path, model, tree, leaves)
            # Also now it is compiled as the next start will have it, which is to find the program.
            lowered, result = pickle.loads(kept)
            self._ready[asked] = jax.jit(export.deserialize(lowered).call), result
        program, result = self._ready[asked]
        return jax.tree.unflatten(result, program(*leaves))

    def _kept(self, path: Path, model: nn.Module, tree: Any, leaves: list[Any]) -> bytes:
        """Traced anew: what is in the file now; a folder that can not be written costs time alone."""
        result = None

        def flat(*leaves: Any) -> list[Any]:
            nonlocal result
            made, result = jax.tree.flatten(self._jitted(model, *jax.tree.unflatten(tree, leaves)))
            return made

        lowered = export.export(jax.jit(flat))(*leaves).serialize()
        kept = pickle.dumps((lowered, result))
        with contextlib.suppress(OSError), new_file(path) as partial:
            partial.write_bytes(hashlib.sha256(kept).digest() + kept)
        return kept


def _read(path: Path) -> bytes | None:
    """What a file keeps; None for no file, and for one that is damaged."""
    try:
        found = path.read_bytes()
    except OSError:
        return None
    digest, kept = found[:_DIGEST], found[_DIGEST:]
    return kept if hashlib.sha256(kept).digest() == digest else None


def _is_on_one_cpu(leaf: Any) -> bool:
    devices = leaf.devices() if isinstance(leaf, jax.Array) else {jax.local_devices()[0]}
    return len(devices) == 1 and next(iter(devices)).platform == "cpu"


def _surroundings() -> tuple[Any, ...]:
    versions = [metadata.version(package) for package in ("jax", "jaxlib", "flax")]
    return *versions, *(getattr(jax.config, name) for name in _SETTINGS), state_of_package()

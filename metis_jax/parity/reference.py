"""The folder with `recipe.py` and `specs/`: weights and inputs that both sides draw from a seed, names and shapes."""

import copy
import dataclasses
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax
import numpy as np

from metis_jax.convert.components import Tensors, config_from_shapes, matched
from metis_jax.types import Variables
from metis_jax.weights.tensor_files import TensorSpec, WeightsError


@dataclasses.dataclass(frozen=True)
class _RecipeFile:
    """The tensors of one spec, drawn when they are read; in the manner of `TensorFile`."""

    path: str
    specs: Mapping[str, TensorSpec]
    read: Callable[[str], np.ndarray]


class Reference:
    """Draws weights and inputs at a seed (0 unless said); weights come through the converter's rules."""

    def __init__(self, folder: Path):
        path = folder / "recipe.py"
        if not path.is_file() or not (folder / "specs").is_dir():
            raise WeightsError(f"{folder}: no recipe.py and specs/ there; name their folder with --reference")
        specification = importlib.util.spec_from_file_location("parity_recipe", path)
        self._recipe = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(self._recipe)
        self._seed = 0

    def at(self, seed: int) -> "Reference":
        """The same folder, drawing at another seed."""
        seeded = copy.copy(self)
        seeded._seed = seed
        return seeded

    def inputs(self, label: str, shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
        """The float32 input of that label."""
        return self._recipe.inputs(label, shape, scale, seed=self._seed)

    def width(self, spec: str, tensor: str) -> int:
        """Size of the last axis of one tensor."""
        return self._recipe.load_spec(spec)[tensor][-1]

    def component(
        self, kind: str, *specs: str, base: Any = None, extra: Mapping[str, np.ndarray] | None = None
    ) -> tuple[Any, Variables]:
        """Configuration and variables of a component.

        Args:
          kind: of component.
          specs: names of the specs of its files.
          base: configuration of a task adapter's base.
          extra: official tensors that are in no spec.
        """
        files = [self._file(spec) for spec in specs]
        if extra:
            found = {name: TensorSpec(array.shape, array.dtype) for name, array in extra.items()}
            files.append(_RecipeFile("extra", found, extra.__getitem__))
        tensors = Tensors(files)
        config = config_from_shapes(kind, {n: spec.shape for n, spec in tensors.specs.items()}, file=tensors.file)
        flat = {match.rule.ours: match.join(tensors.read) for match in matched(config, tensors, base)}
        return config, flax.traverse_util.unflatten_dict(flat, sep="/")

    def _file(self, spec: str) -> _RecipeFile:
        shapes = self._recipe.load_spec(spec)

        def read(name: str) -> np.ndarray:
            return np.asarray(self._recipe.tensor(name, shapes[name], seed=self._seed))

        counters = np.dtype(np.int64)
        dtypes = {name: counters if name.endswith("num_batches_tracked") else np.dtype(np.float32) for name in shapes}
        return _RecipeFile(spec, {name: TensorSpec(tuple(shapes[name]), dtypes[name]) for name in shapes}, read)

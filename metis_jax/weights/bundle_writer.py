"""Writes bundles, whole or not at all; what they hold is in `bundle.py`."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import flax
import numpy as np

from metis_jax.files.outputs import new_folder
from metis_jax.sections import to_dict
from metis_jax.types import Variables
from metis_jax.weights.bundle import (
    CONFIG_FILE,
    FORMAT,
    VERSION,
    Bundle,
    Serving,
    TaskAdapterConfig,
    check_name,
    check_parts,
    check_specs,
    kind_of,
    run_shapes,
    stored_shapes,
)
from metis_jax.weights.identity import ENCODERS, Identity, joined
from metis_jax.weights.tensor_files import TensorSpec, WeightsError, spec_of, write_tensor_file


@contextlib.contextmanager
def new_directory(path: str | os.PathLike) -> Iterator[Path]:
    """A directory that appears under `path` when the block ends, and not at all when it raises."""
    if os.path.lexists(path):
        raise WeightsError(f"{path}: exists already; remove it or choose another name")
    try:
        with new_folder(path) as partial:
            yield partial
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror or error})") from None


class BundleWriter:
    """Collects components in a directory; `write_bundle` makes one.

    Components are checked against the model as they are added, a task adapter after its base.

    Attributes:
      decoding: as in `Bundle`.
    """

    def __init__(self, directory: Path, *, license: str, provenance: str):
        self._directory = directory
        self._about = {"license": license, "provenance": provenance}
        self._components: dict[str, Any] = {}
        self._tasks: dict[str, Serving] = {}
        self._encoders: dict[str, dict[str, str]] = {}
        self._identities: dict[str, str] = {}
        self.decoding: dict[str, Any] = {}

    def add(
        self, name: str, config: Any, variables: Variables, *, encoders: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Adds a component from a variable tree in memory; `encoders` made the tokens that a generator speaks."""
        flat = flax.traverse_util.flatten_dict(variables, sep="/")
        specs = {path: spec_of(leaf) for path, leaf in flat.items()}
        tensors = ((path, np.asarray(leaf)) for path, leaf in flat.items())
        self.stream(name, config, specs, tensors, encoders=encoders)

    def copy(self, bundle: Bundle, there: str, name: str = "") -> None:
        """Adds a component of another bundle, tensor by tensor as it is stored there."""
        file = bundle.file(there)
        tensors = ((path, file.read(path)) for path in file.specs)
        encoders = bundle.encoders.get(there, {})
        self.stream(name or there, bundle.components[there], file.specs, tensors, encoders=encoders)

    def stream(
        self,
        name: str,
        config: Any,
        specs: Mapping[str, TensorSpec],
        tensors: Iterable[tuple[str, np.ndarray]],
        *,
        encoders: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Adds a component whose tensors arrive one by one, in the order of `specs`."""
        check_name(name)
        if name in self._components:
            raise ValueError(f"two components are called {name!r}")
        base = self._components.get(config.base) if isinstance(config, TaskAdapterConfig) else None
        shapes = {path: spec.shape for path, spec in specs.items()}
        check_specs(Path(name), stored_shapes(config, base), specs)
        own, run = Identity(), run_shapes(config, shapes)

        def noted() -> Iterator[tuple[str, np.ndarray]]:
            for path, array in tensors:
                if path in run:
                    own.add(path, array if array.shape == run[path] else array[: run[path][0]])
                yield path, array

        write_tensor_file(self._directory / f"{name}.safetensors", specs, noted() if name in ENCODERS else tensors)
        self._components[name] = config
        if name in ENCODERS:
            self._identities[name] = str(own)
        if encoders:
            self._encoders[name] = dict(encoders)

    def task(self, task: str, generator: str, adapter: str | None = None) -> None:
        self._tasks[task] = Serving(generator, adapter)

    def finish(self) -> None:
        check_parts(self._components, self._tasks)
        for name, encoders in self._encoders.items():
            joined(encoders, self._identities, "the encoders of this bundle", f"tokens of {name}")
        built = self._components.values()
        rates = {kind_of(config): config.sample_rate for config in built if hasattr(config, "sample_rate")}
        info = {
            "format": FORMAT,
            "version": VERSION,
            **self._about,
            "sample_rates": rates,
            "components": {
                name: {"kind": kind_of(config), "config": to_dict(config)}
                | ({"encoders": self._encoders[name]} if name in self._encoders else {})
                for name, config in self._components.items()
            },
            "tasks": {name: dataclasses.asdict(task) for name, task in self._tasks.items()},
        }
        if self.decoding:
            info["decoding"] = self.decoding
        text = json.dumps(info, indent=1, ensure_ascii=False)
        (self._directory / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def write_bundle(path: str | os.PathLike, *, license: str, provenance: str) -> Iterator[BundleWriter]:
    """Writes a bundle: nothing is at `path` until the block has ended without an error."""
    with new_directory(path) as directory:
        writer = BundleWriter(directory, license=license, provenance=provenance)
        yield writer
        writer.finish()

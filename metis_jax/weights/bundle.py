"""A bundle: a model on disk that can be read anywhere and runs no code when it is read.

    BUNDLE/config.json               format, licence, provenance, sample rates, components, tasks
    BUNDLE/<component>.safetensors   variables, paths joined by "/" with the Flax collection first

Task adapters (low-rank updates and a condition adapter) are components of their own on a shared base.  The collection
`unused` holds tensors of the authors' files that no model reads; it is there for export and is skipped here.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import flax
import ml_dtypes
import numpy as np

from metis_jax import config as configs
from metis_jax.files.inputs import InputError, read_json
from metis_jax.files.places import check_is_local
from metis_jax.models.components import COMPONENTS, abstract_variables
from metis_jax.sections import from_config_dict
from metis_jax.types import Variables
from metis_jax.weights import hub
from metis_jax.weights.identity import identity
from metis_jax.weights.tensor_files import (
    TensorFile,
    TensorSpec,
    WeightsError,
    different_shape,
)

FORMAT = "metis_jax bundle"
VERSION = 1
CONFIG_FILE = "config.json"
UNUSED = "unused"
PACKAGED = ("nano",)  # bundles that come with the package


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskAdapterConfig:
    """What turns the semantic generator `base` into a task's: low-rank updates, a condition adapter, phones.

    `phone_vocabulary` is 0 where the adapter brings no phone embedding of its own.
    """

    base: str
    lora: configs.LoraConfig
    condition: str = "gated"
    condition_width: int = 1024
    phone_vocabulary: int = 0

    def __post_init__(self):
        configs.check_sizes(self, zero=("phone_vocabulary",))
        if self.condition not in configs.CONDITION_KINDS:
            raise ValueError(f"condition is {self.condition!r}; use one of {', '.join(configs.CONDITION_KINDS)}")

    @property
    def parts(self) -> tuple[str, ...]:
        """Path components of the variables that belong to the adapter."""
        phones = ("phone_embedding", "phone_mlp") if self.phone_vocabulary else ()
        return ("lora", "condition_adapter", *phones)

    def adapted(self, base: configs.SemanticGeneratorConfig) -> configs.SemanticGeneratorConfig:
        """The configuration of the base with the adapter on it."""
        return dataclasses.replace(
            base,
            condition=self.condition,
            condition_width=self.condition_width,
            phone_vocabulary=self.phone_vocabulary or base.phone_vocabulary,
        )


_CONFIGS: dict[str, type] = {kind: component.config for kind, component in COMPONENTS.items()}
_CONFIGS["task_adapter"] = TaskAdapterConfig
# Encoders of which a checkpoint keeps more layers than are run.
_READ_AT_A_LAYER = (configs.SslEncoderConfig, configs.WhisperEncoderConfig)
_KIND_OF = {cls: kind for kind, cls in _CONFIGS.items()}


@dataclasses.dataclass(frozen=True)
class Serving:
    """Which components serve a task; `adapter` is None for a generator fine-tuned as a whole."""

    generator: str
    adapter: str | None = None


@dataclasses.dataclass(frozen=True)
class Generator:
    """A loaded semantic generator, ready for `SemanticGenerator(config, lora=lora)`."""

    config: configs.SemanticGeneratorConfig
    lora: configs.LoraConfig | None
    variables: Variables


def kind_of(config: Any) -> str:
    if type(config) not in _KIND_OF:
        raise ValueError(f"{type(config).__name__} does not configure a bundle component")
    return _KIND_OF[type(config)]


def stored_shapes(config: Any, base: configs.SemanticGeneratorConfig | None = None) -> dict[str, tuple[int, ...]]:
    """{variable path: shape} that the file of a component must hold.

    A task adapter needs the configuration of its `base`.
    """
    if isinstance(config, TaskAdapterConfig):
        if base is None:
            raise ValueError(f"task adapter needs its base {config.base!r}")
        shapes = abstract_variables(config.adapted(base), config.lora)
        return {path: leaf.shape for path, leaf in shapes.items() if not set(config.parts).isdisjoint(path.split("/"))}
    if isinstance(config, _READ_AT_A_LAYER):
        # A checkpoint keeps all layers, the model only has those it runs.
        config = dataclasses.replace(config, hidden_layer=config.num_layers)
    return {path: leaf.shape for path, leaf in abstract_variables(config).items()}


def _found(place: str | os.PathLike) -> Path:
    """A folder, one of the hub (hub:OWNER/NAME), or a packaged bundle by its name unless a bundle lies there."""
    if str(place).startswith(hub.SCHEME):
        return hub.snapshot(str(place).removeprefix(hub.SCHEME), (CONFIG_FILE, "*.safetensors"))
    check_is_local(place)
    path = Path(place)
    packaged = Path(str(resources.files("metis_jax"))) / "assets" / path.name
    return packaged if str(place) in PACKAGED and not (path / CONFIG_FILE).exists() else path


class Bundle:
    """A bundle opened for reading; components are loaded on demand.

    It is named by its folder, by the name of a packaged one, or as hub:OWNER/NAME[@REVISION].

    Attributes:
      path: its directory.
      info: the whole of `config.json`.
      components: {name: configuration}; the class of the configuration says what the component is.
      tasks: {task: the components that serve it}.
      decoding: settings that the models want in place of the released, as `Settings.of` takes them.
      license, provenance: of the weights, a line each.
      encoders: {generator or adapter: identities of the encoders whose tokens it speaks}, for those that say so.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = _found(path)
        self.info = self._read_info()
        self.components: dict[str, Any] = {}
        self.tasks: dict[str, Serving] = {}
        self.encoders: dict[str, dict[str, str]] = {}
        self.license, self.provenance = (str(self.info.get(key, "")) for key in ("license", "provenance"))
        where = self.path / CONFIG_FILE
        try:
            for name, entry in self.info["components"].items():
                check_name(name)
                if not isinstance(entry, dict):
                    raise ValueError(f"component {name!r} is {entry!r:.80}; expected an object")
                if entry["kind"] not in _CONFIGS:
                    raise ValueError(f"component {name!r} is of unknown kind {entry['kind']!r}")
                self.components[name] = from_config_dict(_CONFIGS[entry["kind"]], entry["config"], where=name)
                if "encoders" in entry:
                    self.encoders[name] = {str(encoder): one for encoder, one in entry["encoders"].items()}
                    if not all(isinstance(one, str) for one in self.encoders[name].values()):
                        raise ValueError(f"component {name!r} has encoders {entry['encoders']}; expected texts by name")
            self.tasks = {
                name: from_config_dict(Serving, entry, where=f"task {name!r}")
                for name, entry in self.info["tasks"].items()
            }
            self.decoding = dict(self.info.get("decoding", {}).items())
            check_parts(self.components, self.tasks)
        except (KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"{where}: damaged ({error})") from None
        except ValueError as error:
            raise WeightsError(f"{where}: {error}") from None

    def _read_info(self) -> dict[str, Any]:
        path = self.path / CONFIG_FILE
        if not os.path.lexists(path):
            raise WeightsError(f"{self.path}: not a bundle, {CONFIG_FILE} is missing")
        try:
            info = read_json(path)
        except InputError as error:
            raise WeightsError(str(error)) from None
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            found = info.get("format") if isinstance(info, dict) else type(info).__name__
            raise WeightsError(f"{path}: not a bundle, expected format {FORMAT!r}, found {found!r}")
        version = info.get("version")
        if type(version) is not int or version < 1:
            raise WeightsError(f"{path}: expected a format version up to {VERSION}, found {version!r}")
        if version > VERSION:
            raise WeightsError(f"{path}: expected format version {VERSION} or older, found {version}; update metis_jax")
        return info

    def names(self, kind: str) -> list[str]:
        """Names of all components of a kind."""
        return [name for name, config in self.components.items() if kind_of(config) == kind]

    def file(self, name: str) -> TensorFile:
        """The open file of a component."""
        self._require(name)
        path = self.path / f"{name}.safetensors"
        if not os.path.lexists(path):
            raise WeightsError(f"{path}: file is missing")
        return TensorFile(path)

    def load(self, name: str, *, dtype: str = "float32") -> tuple[Any, Variables]:
        """Configuration and variables of a component, checked against the model.

        Parameters stored in another floating dtype are cast to `dtype`; statistics stay as they are.  Of an encoder
        only the layers that are run are read; the configuration of an SSL encoder says so.
        """
        self._require(name)
        config = self.components[name]
        base = self.components.get(config.base) if isinstance(config, TaskAdapterConfig) else None
        file = self.file(name)
        expected = stored_shapes(config, base)
        check_specs(file.path, expected, file.specs)
        flat = {}
        for path, shape in run_shapes(config, expected).items():
            array = file.read(path, None if shape == expected[path] else shape[0])
            if path.startswith("params/"):
                with np.errstate(over="ignore"):
                    array = array.astype(dtype, copy=False)
            if not np.isfinite(array).all():
                raise WeightsError(f"{file.path}: tensor {path!r} holds numbers that are not finite in {dtype}")
            flat[path] = array
        if isinstance(config, _READ_AT_A_LAYER):
            config = dataclasses.replace(config, num_layers=config.hidden_layer)
        return config, flax.traverse_util.unflatten_dict(flat, sep="/")

    def identity(self, name: str) -> str:
        """Which encoder a component is (`weights/identity.py`): equal for one that gives the same tokens."""
        _, variables = self.load(name)
        return identity(flax.traverse_util.flatten_dict(variables, sep="/").items())

    def serving(self, task: str) -> Serving:
        """The components that serve a task; WeightsError if none does."""
        if task not in self.tasks:
            known = ", ".join(sorted(self.tasks)) or "none"
            raise WeightsError(f"{self.path}: the bundle has no model for task {task!r}; it has: {known}")
        return self.tasks[task]

    def generator_config(self, task: str) -> configs.SemanticGeneratorConfig:
        """Of the generator of a task, its adapter joined in."""
        parts = self.serving(task)
        config = self.components[parts.generator]
        return config if parts.adapter is None else self.components[parts.adapter].adapted(config)

    def load_generator(self, task: str, *, dtype: str = "float32") -> Generator:
        """The semantic generator of a task, its adapter joined in unmerged."""
        parts = self.serving(task)
        config, variables = self.load(parts.generator, dtype=dtype)
        if parts.adapter is None:
            return Generator(config, None, variables)
        adapter, extra = self.load(parts.adapter, dtype=dtype)
        flat = flax.traverse_util.flatten_dict(variables) | flax.traverse_util.flatten_dict(extra)
        return Generator(adapter.adapted(config), adapter.lora, flax.traverse_util.unflatten_dict(flat))

    def _require(self, name: str) -> None:
        if name not in self.components:
            known = ", ".join(self.components) or "none"
            raise WeightsError(f"{self.path}: the bundle has no component {name!r}; it has: {known}")


def run_shapes(config: Any, stored: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[int, ...]]:
    """Of the shapes that a file holds those that the model has: an encoder has the layers that it runs."""
    if not isinstance(config, _READ_AT_A_LAYER):
        return stored
    return {path: leaf.shape for path, leaf in abstract_variables(config).items()}


def check_specs(path: Path, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, TensorSpec]) -> None:
    """Raises WeightsError for the first tensor that is missing, misshapen, extra, or not of floating-point numbers."""
    for name, shape in expected.items():
        if name not in found:
            raise WeightsError(f"{path}: tensor {name!r} is missing, expected shape {list(shape)}")
        if tuple(found[name].shape) != tuple(shape):
            raise different_shape(path, name, shape, found[name].shape)
        dtype = found[name].dtype
        if not (dtype == ml_dtypes.bfloat16 or np.issubdtype(dtype, np.floating)):
            raise WeightsError(f"{path}: tensor {name!r} is of {dtype}; expected floating-point numbers")
    for name, spec in found.items():
        if name not in expected and not name.startswith(f"{UNUSED}/"):
            raise WeightsError(f"{path}: tensor {name!r} of shape {list(spec.shape)} is not expected")


def check_name(name: str) -> None:
    """ValueError unless `name` can be a component's: its file lies in the bundle, whatever the file system."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", name):
        raise ValueError(f"component name is {name[:120]!r}; use up to 100 letters, digits, - and _")


def check_parts(components: Mapping[str, Any], tasks: Mapping[str, Serving]) -> None:
    """ValueError for a task or an adapter whose components are not there, or of another kind than is asked of them."""

    def find(name: str, kind: type, where: str) -> Any:
        if name not in components:
            raise ValueError(f"{where} needs component {name!r}, which is not listed")
        if not isinstance(components[name], kind):
            raise ValueError(f"{where} needs a {_KIND_OF[kind]}, but {name!r} is a {kind_of(components[name])}")
        return components[name]

    for name, config in components.items():
        if isinstance(config, TaskAdapterConfig):
            find(config.base, configs.SemanticGeneratorConfig, f"adapter {name!r}")
    for task, parts in tasks.items():
        config = find(parts.generator, configs.SemanticGeneratorConfig, f"task {task!r}")
        if parts.adapter is not None:
            adapter = find(parts.adapter, TaskAdapterConfig, f"task {task!r}")
            if adapter.base != parts.generator:
                raise ValueError(
                    f"task {task!r} joins adapter {parts.adapter!r} to {parts.generator!r}; it is for {adapter.base!r}"
                )
            config = adapter.adapted(config)
        if not (config.phone_vocabulary if task == "tts" else config.condition != "none"):
            raise ValueError(f"task {task!r}: its generator has no {'phones' if task == 'tts' else 'condition'}")

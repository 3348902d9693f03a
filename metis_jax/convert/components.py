"""Components between the two layouts: which rules, which configuration, and are the tensors all there."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from metis_jax.config import AnySslEncoderConfig
from metis_jax.convert import (
    acoustic_codec,
    acoustic_generator,
    semantic_codec,
    semantic_generator,
    ssl_encoder,
    visual_encoder,
    whisper_encoder,
)
from metis_jax.convert.published import BASE
from metis_jax.convert.rules import Match, Rule, match_rules
from metis_jax.files.inputs import InputError, finite_floats, read_arrays
from metis_jax.weights.bundle import UNUSED, TaskAdapterConfig, kind_of, stored_shapes
from metis_jax.weights.bundle_writer import BundleWriter
from metis_jax.weights.tensor_files import TensorSpec, WeightsError, different_shape, spec_of

# Called with (component, bytes) as tensors are written.
Progress = Callable[[str, int], None]

# By the kind that they are named for; each has `config_from_shapes(shapes)` and either `RULES` or `rules(config)`.
_MODULES: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        ssl_encoder,
        semantic_codec,
        acoustic_codec,
        semantic_generator,
        acoustic_generator,
        visual_encoder,
        whisper_encoder,
    )
}

# The published statistics lie beside the SSL encoder and belong to it.
STATISTICS_RULES = [Rule("statistics/mean", "mean"), Rule("statistics/variance", "var")]


class StatisticsFile:
    """Mean and variance of the SSL features (`.npz`), in the manner of `TensorFile`."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        try:
            self._arrays = {name: finite_floats(x, f"{path}: {name}") for name, x in read_arrays(path).items()}
        except InputError as error:
            raise WeightsError(f"{error}; expected an .npz file with the arrays mean and var") from None
        self.specs = {name: spec_of(array) for name, array in self._arrays.items()}

    def read(self, name: str) -> np.ndarray:
        return self._arrays[name]


@runtime_checkable
class TensorSource(Protocol):
    """What is asked of a file of tensors: `TensorFile`, `StatisticsFile`, or weights drawn by a recipe."""

    path: str | Path
    specs: Mapping[str, TensorSpec]
    read: Callable[[str], np.ndarray]


class Tensors:
    """The tensors of one component, from all of its files."""

    def __init__(self, files: Sequence[TensorSource]):
        self._owner = {name: file for file in files for name in file.specs}
        self.specs = {name: file.specs[name] for name, file in self._owner.items()}
        self.file = ", ".join(str(file.path) for file in files)

    def read(self, name: str) -> np.ndarray:
        return self._owner[name].read(name)

    def where(self, name: str) -> str:
        return str(self._owner[name].path)


class _Shapes(dict):
    """{tensor: shape} whose missing keys say which file lacks what."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], file: str):
        super().__init__(shapes)
        self._file = file

    def __missing__(self, name: str):
        raise WeightsError(f"{self._file}: tensor {name!r} is missing")


def rules_for(config: Any) -> list[Rule]:
    """The rules of the component that `config` describes."""
    if isinstance(config, TaskAdapterConfig):
        return semantic_generator.ADAPTER_RULES
    kind = kind_of(config)
    module = _MODULES[kind]
    rules = module.rules(config) if hasattr(module, "rules") else module.RULES
    return [*rules, *STATISTICS_RULES] if isinstance(config, AnySslEncoderConfig) else rules


def config_from_shapes(kind: str, shapes: Mapping[str, tuple[int, ...]], *, file: str) -> Any:
    """The configuration that a file's tensors imply; WeightsError when they are not of that kind."""
    shapes = _Shapes(shapes, file)
    try:
        if kind == "task_adapter":
            return TaskAdapterConfig(
                base=BASE,
                lora=semantic_generator.lora_from_shapes(shapes),
                condition_width=shapes["model.cond_adapter.in_linear.weight"][1],
            )
        return _MODULES[kind].config_from_shapes(shapes)
    except WeightsError:
        raise
    except ValueError as error:
        raise WeightsError(f"{file}: not the tensors of a {kind}: {error}") from None
    except (TypeError, IndexError, KeyError):  # a stack is not there, or an axis
        raise WeightsError(f"{file}: not the tensors of a {kind}") from None


def matched(config: Any, tensors: Tensors, base: Any = None) -> list[Match]:
    """The rules of a component filled from its files and checked against our model."""
    matches = match_rules(rules_for(config), {n: spec.shape for n, spec in tensors.specs.items()}, file=tensors.file)
    expected = stored_shapes(config, base)
    for match in matches:
        ours = match.rule.ours
        if ours in expected:
            _check(match, expected[ours], tensors)
        elif not ours.startswith(f"{UNUSED}/"):
            raise ValueError(f"rule {ours!r} fills no variable of the model")
    unfilled = sorted(set(expected) - {match.rule.ours for match in matches})
    if unfilled:
        raise ValueError(f"variable {unfilled[0]!r} has no rule")
    return matches


def _check(match: Match, shape: tuple[int, ...], tensors: Tensors) -> None:
    """Raises WeightsError unless the tensors of a match are there, no more, in one dtype and the right shape."""
    rule = match.rule
    official = rule.official_shape(shape)
    due = [name for _, name in rule.names(shape[: len(rule.indices)])]
    found = [name for _, name in rule.names(match.grid)]
    for name in due:
        if name not in tensors.specs:
            raise WeightsError(f"{tensors.file}: tensor {name!r} is missing, expected shape {list(official)}")
        if tensors.specs[name].shape != official:
            raise different_shape(tensors.where(name), name, official, tensors.specs[name].shape)
        if tensors.specs[name].dtype != tensors.specs[due[0]].dtype:
            kinds = tensors.specs[due[0]].dtype, tensors.specs[name].dtype
            raise WeightsError(f"{tensors.where(name)}: tensor {name!r}: expected dtype {kinds[0]}, found {kinds[1]}")
    for name in found:
        if name not in due:
            raise WeightsError(f"{tensors.where(name)}: tensor {name!r} of shape {list(match.shape)} is not expected")


def stream(
    bundle: BundleWriter,
    component: str,
    config: Any,
    tensors: Tensors,
    *,
    base: Any = None,
    progress: Progress | None = None,
) -> None:
    """Adds a component to a bundle, one of our (stacked) tensors at a time; a task adapter needs its `base`."""
    matches = matched(config, tensors, base)
    specs = {match.rule.ours: _spec(match, tensors) for match in matches}
    bundle.stream(component, config, specs, _joined(matches, tensors, component, progress))


def _spec(match: Match, tensors: Tensors) -> TensorSpec:
    first = next(name for _, name in match.rule.names(match.grid))
    return TensorSpec(match.our_shape, tensors.specs[first].dtype)


def _joined(
    matches: Sequence[Match], tensors: Tensors, component: str, progress: Progress | None
) -> Iterator[tuple[str, np.ndarray]]:
    for match in matches:
        yield match.rule.ours, match.join(tensors.read)
        if progress:
            progress(component, _spec(match, tensors).nbytes)

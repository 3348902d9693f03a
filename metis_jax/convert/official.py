"""The authors' published folders to a bundle and back.

Both directions stream: one of our (stacked) tensors is in memory at a time.
"""

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from metis_jax.config import DurationPredictorConfig
from metis_jax.convert.components import Progress, StatisticsFile, Tensors, config_from_shapes, rules_for, stream
from metis_jax.convert.published import BASE, PUBLISHED, SERVING, STATISTICS, Published, Root, find_files
from metis_jax.convert.rules import Rule
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.bundle_writer import new_directory, write_bundle
from metis_jax.weights.tensor_files import TensorFile, TensorSpec, WeightsError, write_tensor_file

LICENSE = "CC BY-NC 4.0"
PROVENANCE = "converted from the weights published by the authors of Metis and MaskGCT, and w2v-BERT 2.0"


def open_component(entry: Published, files: Mapping[str, Path]) -> Tensors | None:
    """The tensors of one component, or None when none of its files is there; one of two is an error."""
    weights = [published for published in entry.files if published != STATISTICS]
    if not any(published in files for published in weights):
        return None
    for published in entry.files:
        if published in files:
            continue
        if published == STATISTICS:
            raise WeightsError(f"{files[weights[0]]}: {STATISTICS} is missing beside it; name it with --statistics")
        raise WeightsError(f"{published} is missing, but {next(files[w] for w in weights if w in files)} needs it")
    return Tensors([StatisticsFile(files[p]) if p == STATISTICS else TensorFile(files[p]) for p in entry.files])


def convert_official(
    roots: Sequence[Root],
    output: Path,
    *,
    statistics: Path | None = None,
    only: str = "*",
    progress: Progress | None = None,
) -> Bundle:
    """Writes a bundle from every published file found under `roots`.

    Args:
      roots: where to look.
      output: the bundle; it must not exist.
      statistics: `.npz` with mean and var of the SSL features, for folders that lack it.
      only: glob over the names of components.
      progress: called with (component, bytes) as tensors are written.
    """
    files = find_files(roots, statistics)
    where = ", ".join(str(root.path) for root in roots)
    configs: dict[str, Any] = {}
    with write_bundle(output, license=LICENSE, provenance=PROVENANCE) as bundle:
        for entry in PUBLISHED:
            tensors = open_component(entry, files) if fnmatch.fnmatch(entry.component, only) else None
            if tensors is None:
                continue
            if entry.kind == "task_adapter" and BASE not in configs:
                logging.warning("%s is left out: its base, metis_base, is not there", entry.component)
                continue
            shapes = {name: spec.shape for name, spec in tensors.specs.items()}
            config = config_from_shapes(entry.kind, shapes, file=tensors.file)
            stream(bundle, entry.component, config, tensors, base=configs.get(BASE), progress=progress)
            configs[entry.component] = config
        if not configs:
            example = next(iter(PUBLISHED[1].files))
            raise WeightsError(f"{where}: none of the published files is there, for example {example}")
        for task, candidates in SERVING.items():
            name = next((name for name in candidates if name in configs), None)
            if name is not None and name.startswith("adapter_"):
                bundle.task(task, BASE, name)
            elif name is not None:
                bundle.task(task, name)
    return Bundle(output)


def export_official(bundle: Bundle, output: Path, *, progress: Progress | None = None) -> list[str]:
    """Writes a bundle back as the authors' folders, under `output`, which must not exist.

    The components that are left out: the authors publish no duration predictor.
    """
    published = {entry.component: entry for entry in PUBLISHED}
    left_out = [name for name, config in bundle.components.items() if isinstance(config, DurationPredictorConfig)]
    chosen = {name: config for name, config in bundle.components.items() if name not in left_out}
    for name in chosen or left_out:
        if name not in published:
            raise WeightsError(f"{bundle.path}: component {name!r} has no place in the published layout")
    with new_directory(output) as directory:
        for name, config in chosen.items():
            for path, pattern in published[name].files.items():
                target = directory / path
                target.parent.mkdir(parents=True, exist_ok=True)
                _export_file(bundle, name, rules_for(config), target, pattern, progress)
    return left_out


def _export_file(
    bundle: Bundle, name: str, rules: Sequence[Rule], target: Path, pattern: str, progress: Progress | None
) -> None:
    source = bundle.file(name)
    specs, chosen = {}, []
    for rule in rules:
        if rule.ours not in source.specs:
            raise WeightsError(f"{source.path}: tensor {rule.ours!r} is missing")
        spec = source.specs[rule.ours]
        names = [official for _, official in rule.names(spec.shape[: len(rule.indices)])]
        if re.fullmatch(pattern, names[0]):
            chosen.append(rule)
            specs |= dict.fromkeys(names, TensorSpec(rule.official_shape(spec.shape), spec.dtype))

    def tensors() -> Iterator[tuple[str, np.ndarray]]:
        for rule in chosen:
            yield from rule.split(source.read(rule.ours))
            if progress:
                progress(name, source.specs[rule.ours].nbytes)

    if target.suffix == ".npz":
        np.savez(target, **dict(tensors()))
    else:
        write_tensor_file(target, specs, tensors(), metadata={"format": "pt"})

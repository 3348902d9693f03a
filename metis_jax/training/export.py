"""A bundle from the last checkpoint of a run: of its own models, or of all models of a bundle with its own in place."""

import dataclasses
import logging
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import flax
import jax
import numpy as np

from metis_jax.config import SemanticGeneratorConfig
from metis_jax.data.batches.pipeline import PipelineConfig
from metis_jax.inference.windows import WindowPlan
from metis_jax.sharding import to_host
from metis_jax.training.config import TrainConfig
from metis_jax.training.run import Run, make_pipeline, pipeline_config, start_run
from metis_jax.training.state import all_params
from metis_jax.training.trainers.protocol import Params
from metis_jax.types import Variables
from metis_jax.weights import lineage
from metis_jax.weights.bundle import Bundle, Serving, TaskAdapterConfig
from metis_jax.weights.bundle_writer import BundleWriter, write_bundle
from metis_jax.weights.identity import ENCODERS, identity

log = logging.getLogger(__name__)

STATISTICS_BATCHES = 32  # over which mean and variance of a new SSL encoder's features are taken
GENERATOR, STAGE_2 = "semantic_generator", "acoustic_generator"
ACOUSTIC_CODEC = "acoustic_codec"  # whose tokens stage 2 alone speaks


def export_bundle(config: TrainConfig, workdir: pathlib.Path, path: pathlib.Path, onto: str = "") -> None:
    """Writes every component that a bundle can hold: what was trained, averaged if the run averages, and what was not.

    With LoRA the base stays as it was, and adapters and condition adapter become a task adapter on it.  Generators that
    have seen less than 30 s are decoded in windows as long as what they have seen.

    Args:
      onto: a bundle whose components, tasks and decoding settings the new one has too, with what was trained in place
        of its own: then it works wherever that bundle does.  Frozen models that it lacks, as the visual encoder of a
        bundle that has read no lips, come along.
    """
    run = start_run(config, workdir)
    try:
        if run.checkpoints.latest() is None:
            raise ValueError(f"{workdir} has no checkpoint to export; train first")
        write_components(run, path, int(run.state.step), Bundle(onto) if onto else None)
    finally:
        run.checkpoints.close()


def write_components(run: Run, path: pathlib.Path, step: int, onto: Bundle | None = None) -> None:
    """The models of a run as a bundle, beside those of `onto`.  Of several processes the first one writes it."""
    config = run.config
    params = jax.tree.map(to_host, all_params(run.averaged, run.frozen))
    data = pipeline_config(config, run.workdir)
    if jax.process_index():
        return
    params = run.trainer.finish(params, _first_batches(data))
    origins = [*run.origins, (onto.license, onto.provenance)] if onto else run.origins
    own = f"metis_jax, {config.stage}, step {step}, seed {config.seed}"
    about = {
        "license": lineage.trained_license([license for license, _ in origins], config.license),
        "provenance": lineage.statements([own, *(provenance for _, provenance in origins)]),
    }
    with write_bundle(path, **about) as writer:
        writer.decoding = onto.decoding if onto else _decoding(run, data)
        _Export(run, params, writer, onto).write()


def _decoding(run: Run, data: PipelineConfig) -> dict[str, Any]:
    """Settings of a bundle with a generator of this run alone."""
    windows = WindowPlan.within(max(data.buckets))
    is_short = windows != WindowPlan() and not {GENERATOR, STAGE_2}.isdisjoint(run.config.optimizers)
    return {"window": dataclasses.asdict(windows)} if is_short else {}


def _first_batches(data: PipelineConfig) -> Iterator[Mapping[str, np.ndarray]]:
    """What statistics are taken over; opened by who wants one."""
    pipeline = make_pipeline(data)
    yield from (pipeline[index] for index in range(STATISTICS_BATCHES))


class _Export:
    """The components of one run on their way into a bundle."""

    def __init__(self, run: Run, params: Params, writer: BundleWriter, onto: Bundle | None):
        self.run, self.params, self.writer, self.onto = run, params, writer, onto
        self.configs = run.trainer.configs()
        self.name = "_".join(run.config.tasks)
        self.served = dict(onto.tasks) if onto else {}

    def write(self) -> None:
        trained = [name for name in self.configs if name in self.run.config.optimizers]
        there = self.onto.components if self.onto else {}
        frozen = [name for name in self.configs if name not in trained]
        self._check_frozen([name for name in frozen if name in there])
        for name in frozen:
            if name not in there:
                self._write_frozen(name)
        kept = self._kept(trained) if self.onto else set()
        if self.onto:
            # An adapter is checked against its base.
            ordered = sorted(self.onto.components.items(), key=lambda item: isinstance(item[1], TaskAdapterConfig))
            for name, _ in ordered:
                if name in kept:
                    self.writer.copy(self.onto, name)
        for name in trained:
            self._write_trained(name, kept)
        for task, parts in self.served.items():
            self.writer.task(task, parts.generator, parts.adapter)

    def _write_frozen(self, name: str) -> None:
        """A component as its bundle stores it, or as it was drawn."""
        place = self.run.config.initial.get(name)
        if place and not self.run.config.skip_initial:
            path, _, there = place.partition(":")
            self.writer.copy(Bundle(path), there or name, name)
        else:
            self.writer.add(name, self.configs[name], _on_host(self.params[name]))

    def _check_frozen(self, names: list[str]) -> None:
        """What the run did not train, and `onto` has, has to be the same there."""
        for name in names:
            known = self.run.encoders.get(name) if name in ENCODERS else None
            if known and known != self.onto.identity(name):
                raise ValueError(f"{self.onto.path}: its {name} is not the one that the run was trained with")
        generator = self.configs.get(GENERATOR)
        codec = self.onto.components.get("semantic_codec") if self.onto else None
        if generator and codec and generator.codebook_size != codec.codebook_size:
            raise ValueError(
                f"{self.onto.path}: its semantic codec has {codec.codebook_size} codes, the trained generator "
                f"{generator.codebook_size}"
            )

    def _kept(self, trained: list[str]) -> set[str]:
        """Names of the components of `onto` that stay: what is replaced goes, and what then serves no task any more."""
        tasks, components = self.onto.tasks, self.onto.components
        if GENERATOR in trained and not self.run.config.tasks:
            raise ValueError("config.tasks is empty: what serves no task has no place in a bundle that speaks")
        remaining = {task: parts for task, parts in tasks.items() if task not in self.run.config.tasks}
        replaced = {self._name(name) for name in trained if name != GENERATOR}
        if GENERATOR in trained:
            replaced |= _components(tasks.values()) - _components(remaining.values())
        kept = set(components) - replaced
        return kept | {components[name].base for name in kept if isinstance(components[name], TaskAdapterConfig)}

    def _name(self, name: str) -> str:
        """What a trained component is called in the bundle."""
        return self.run.trainer.name_in_chain(name) if self.onto else name

    def _write_trained(self, name: str, kept: set[str]) -> None:
        config, variables = self.configs[name], _on_host(self.params[name])
        encoders = {
            encoder: one for encoder, one in self.run.encoders.items() if name == STAGE_2 or encoder != ACOUSTIC_CODEC
        }
        if name != GENERATOR:
            self.writer.add(self._name(name), config, variables, encoders=encoders if name == STAGE_2 else {})
            return
        lora = self.run.trainer.lora
        if lora is None:
            called = self._free(GENERATOR, kept)
            self.writer.add(called, config, variables, encoders=encoders)
            adapter = None
        else:
            called, adapter = self._write_adapter(config, variables, kept, encoders)
        self.served |= {task: Serving(called, adapter) for task in self.run.config.tasks}

    def _free(self, name: str, kept: set[str]) -> str:
        """`name`, or one like it where that goes on serving other tasks."""
        others = (f"{name}_{self.name}", *(f"{name}_{self.name}_{number}" for number in range(2, len(kept) + 3)))
        return next(one for one in (name, *others) if one not in kept)

    def _write_adapter(
        self, config: SemanticGeneratorConfig, variables: Variables, kept: set[str], encoders: Mapping[str, str]
    ) -> tuple[str, str]:
        """Base and adapter of a generator trained with LoRA; their names."""
        settings = {
            "lora": self.run.trainer.lora,
            "condition": config.condition,
            "condition_width": config.condition_width,
            "phone_vocabulary": config.phone_vocabulary,
        }
        parts = TaskAdapterConfig(base=GENERATOR, **settings).parts
        base, own = _split_adapter(variables, parts)
        called = self._same_generator(base, parts)
        if called is None:
            called = self._free(GENERATOR, kept)
            bare = dataclasses.replace(config, condition="none", phone_vocabulary=0)
            self.writer.add(called, bare, base, encoders=encoders)
        elif called not in kept:
            self.writer.copy(self.onto, called)
        adapter = self._free(f"{self.name or 'task'}_adapter", kept)
        self.writer.add(adapter, TaskAdapterConfig(base=called, **settings), own, encoders=encoders)
        return called, adapter

    def _same_generator(self, base: Variables, parts: tuple[str, ...]) -> str | None:
        """A generator of `onto` that the adapter can stay on: one that has the weights of its base."""
        wanted = identity(flax.traverse_util.flatten_dict(base, sep="/").items())
        if self.onto is None:
            return None
        _, _, likely = self.run.config.initial.get(GENERATOR, "").partition(":")
        for name in sorted(self.onto.names(GENERATOR), key=lambda name: name != likely):
            shared, _ = _split_adapter(self.onto.load(name)[1], parts)
            if identity(flax.traverse_util.flatten_dict(shared, sep="/").items()) == wanted:
                return name
        return None


def _components(tasks) -> set[str]:
    return {name for parts in tasks for name in (parts.generator, parts.adapter) if name is not None}


def _split_adapter(variables: Variables, parts: tuple[str, ...]) -> tuple[Variables, Variables]:
    flat = flax.traverse_util.flatten_dict(variables)
    own = {path: leaf for path, leaf in flat.items() if not set(parts).isdisjoint(path)}
    base = {path: leaf for path, leaf in flat.items() if path not in own}
    return flax.traverse_util.unflatten_dict(base), flax.traverse_util.unflatten_dict(own)


def _on_host(variables: Variables) -> Variables:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), variables)

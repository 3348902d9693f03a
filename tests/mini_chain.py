"""A bundle with every model of the chain at its smallest, at the weights of the `mini_pipeline_*` goldens."""

import dataclasses
from pathlib import Path

import numpy as np
import recipe

from metis_jax.clock import CODEC_HOP, ssl_frames
from metis_jax.config import (
    SIZES,
    AcousticCodecConfig,
    AcousticGeneratorConfig,
    SemanticCodecConfig,
    SemanticGeneratorConfig,
    SslEncoderConfig,
)
from metis_jax.convert.components import rules_for
from metis_jax.convert.rules import to_variables
from metis_jax.inference.engine import Engine
from metis_jax.weights.bundle import stored_shapes
from metis_jax.weights.bundle_writer import write_bundle

TINY = SIZES["tiny"]
TASKS = ("se", "tse", "vc")
COMPONENTS = {
    "ssl_encoder": TINY[SslEncoderConfig],
    "semantic_codec": TINY[SemanticCodecConfig],
    "acoustic_codec": TINY[AcousticCodecConfig],
    "acoustic_generator_first": dataclasses.replace(TINY[AcousticGeneratorConfig], num_levels=1),
    "acoustic_generator_full": TINY[AcousticGeneratorConfig],
    "semantic_generator": dataclasses.replace(TINY[SemanticGeneratorConfig], condition="gated"),
}
SPEAKING = dataclasses.replace(TINY[SemanticGeneratorConfig], condition="gated", phone_vocabulary=1024)


def variables_of(config, base=None):
    """The variables that the recipe draws for the authors' names of a component; a task adapter needs its base."""
    shapes = stored_shapes(config, base)
    rules = [rule for rule in rules_for(config) if rule.ours in shapes]
    tensors = recipe.state_dict(recipe.official_shapes(rules, shapes))
    if isinstance(config, SslEncoderConfig):
        tensors["mean"] = recipe.inputs("ssl_mean", (config.width,), 0.1)
        tensors["var"] = (1 + np.abs(recipe.inputs("ssl_std", (config.width,), 0.1))) ** 2
    return to_variables(rules, tensors)


def write_mini_bundle(path: Path, tasks=TASKS) -> Path:
    with write_bundle(path, license="none", provenance="random weights") as bundle:
        for name, config in COMPONENTS.items():
            bundle.add(name, config, variables_of(config))
        if "tts" in tasks:
            bundle.add("semantic_generator_tts", SPEAKING, variables_of(SPEAKING))
        for task in tasks:
            bundle.task(task, "semantic_generator_tts" if task == "tts" else "semantic_generator")
    return path


class CountingEngine(Engine):
    """In place of the models: tokens are frame numbers, and every frame of a wave holds its token."""

    def __init__(self):
        pass

    @property
    def num_levels(self):
        return 1

    @property
    def largest_batch(self):
        return 2

    @property
    def durations(self):
        return None

    @property
    def decoding(self):
        return {}

    def has_generator_of(self, task, other):
        return False

    def generator_config(self, task):
        return dataclasses.replace(COMPONENTS["semantic_generator"], phone_vocabulary=1024, condition_width=4)

    def require(self, task):
        pass

    def load(self, task):
        pass

    def require_sight(self):
        pass

    def semantic_tokens(self, features):
        return [np.arange(len(one), dtype=np.int32) for one in features]

    def acoustic_tokens(self, waves):
        return [np.arange(len(one) // CODEC_HOP, dtype=np.int32)[:, None] for one in waves]

    def ssl_features(self, waves):
        return [np.zeros((ssl_frames(len(wave)), 1), np.float32) for wave in waves]

    def semantic_stage(self, task, jobs, settings, progress):
        return [np.concatenate([job.known, self._new(job.known, job.length)]) for job in jobs]

    def acoustic_stage(self, jobs, first, full, progress):
        return [np.concatenate([job.known, self._new(job.known[:, 0], len(job.semantic))[:, None]]) for job in jobs]

    def waves(self, tokens):
        return [np.repeat(one[:, 0].astype(np.float32), CODEC_HOP) for one in tokens]

    def _new(self, known, length):
        start = int(known[-1]) + 1 if len(known) else 0
        return np.arange(start, start + length - len(known), dtype=np.int32)

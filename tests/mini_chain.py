"""A bundle with every model of the chain at its smallest, at the weights of the `mini_pipeline_*` goldens."""

import dataclasses
from pathlib import Path

import numpy as np
import recipe

from metis_jax.bundle import stored_shapes, write_bundle
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


def variables_of(config):
    """The variables that the recipe draws for the authors' names of a component."""
    shapes = stored_shapes(config)
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
        for task in tasks:
            bundle.task(task, "semantic_generator")
    return path

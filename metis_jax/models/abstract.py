"""Shapes of every model's variables, without computing or allocating any of them."""

from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax.config import AcousticGeneratorConfig, LoraConfig, SemanticGeneratorConfig
from metis_jax.models.acoustic_generator import AcousticGenerator
from metis_jax.models.semantic_generator import SemanticGenerator

FlatShapes = dict[str, jax.ShapeDtypeStruct]


def abstract_variables(config: Any, lora: LoraConfig | None = None) -> FlatShapes:
    """{variable path joined by "/": shape and dtype} of the model that `config` describes.

    The model's class follows from the class of its configuration.
    """
    model, inputs, method = _model_and_inputs(config, lora)
    variables = jax.eval_shape(lambda: nn.unbox(model.init(jax.random.key(0), *inputs, method=method)))
    return flax.traverse_util.flatten_dict(variables, sep="/")


def _model_and_inputs(config: Any, lora: LoraConfig | None) -> tuple[nn.Module, tuple, str]:
    match config:
        case SemanticGeneratorConfig():
            return SemanticGenerator(config, lora=lora), (jnp.zeros((1, 2), jnp.int32),), "init_all"
        case AcousticGeneratorConfig():
            tokens = jnp.zeros((1, 2, config.num_levels), jnp.int32)
            return AcousticGenerator(config), (tokens,), "init_all"
    raise ValueError(f"no model is configured by {type(config).__name__}")

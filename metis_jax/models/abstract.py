"""Shapes of every model's variables, without computing or allocating any of them."""

import functools
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax import config as configs
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.models.acoustic_generator import AcousticGenerator
from metis_jax.models.duration_predictor import DurationPredictor
from metis_jax.models.phone_head import PhoneHead
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.models.visual_encoder import VisualEncoder
from metis_jax.models.whisper_encoder import WhisperEncoder

FlatShapes = dict[str, jax.ShapeDtypeStruct]


def abstract_variables(config: Any, lora: configs.LoraConfig | None = None) -> FlatShapes:
    """{variable path joined by "/": shape and dtype} of the model that `config` describes.

    The model's class follows from the class of its configuration.
    """
    return dict(_traced(config, lora))


@functools.cache
def _traced(config: Any, lora: configs.LoraConfig | None) -> FlatShapes:
    variables = jax.eval_shape(lambda: nn.unbox(_init(config, lora)))
    return flax.traverse_util.flatten_dict(variables, sep="/")


def _init(config: Any, lora: configs.LoraConfig | None) -> dict[str, Any]:
    key, lengths = jax.random.key(0), jnp.ones((1,), jnp.int32)
    match config:
        case configs.SslEncoderConfig():
            frames = jnp.zeros((1, 2, config.input_width), jnp.float32)
            return SslEncoder(config).init(key, frames, lengths, method="features")
        case configs.WhisperEncoderConfig():
            frames = jnp.zeros((1, 2, config.input_width), jnp.float32)
            return WhisperEncoder(config).init(key, frames, lengths, method="features")
        case configs.SemanticCodecConfig():
            return SemanticCodec(config).init(key, jnp.zeros((1, 2, config.feature_width), jnp.float32), lengths)
        case configs.PhoneHeadConfig():
            return PhoneHead(config).init(key, jnp.zeros((1, 2, config.feature_width), jnp.float32), lengths)
        case configs.AcousticCodecConfig():
            return AcousticCodec(config).init(key, jnp.zeros((1, 2 * config.hop), jnp.float32), lengths)
        case configs.SemanticGeneratorConfig():
            tokens = jnp.zeros((1, 2), jnp.int32)
            return SemanticGenerator(config, lora=lora).init(key, tokens, method="init_all")
        case configs.AcousticGeneratorConfig():
            tokens = jnp.zeros((1, 2, config.num_levels), jnp.int32)
            return AcousticGenerator(config).init(key, tokens, method="init_all")
        case configs.VisualEncoderConfig():
            video = jnp.zeros((1, 2, config.crop, config.crop, 1), jnp.float32)
            return VisualEncoder(config).init(key, video, lengths, train=False)
        case configs.DurationPredictorConfig():
            return DurationPredictor(config).init(key, jnp.zeros((1, 2), jnp.int32), lengths)
    raise ValueError(f"no model is configured by {type(config).__name__}")

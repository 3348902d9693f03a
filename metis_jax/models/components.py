"""The models that a bundle can hold: the one table of their names, configurations, modules and smallest inputs."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax import config as configs
from metis_jax.files.caches import answer_of
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.models.acoustic_generator import AcousticGenerator
from metis_jax.models.duration_predictor import DurationPredictor
from metis_jax.models.lip_head import LipHead
from metis_jax.models.phone_head import PhoneHead
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.models.visual_encoder import VisualEncoder
from metis_jax.models.whisper_encoder import WhisperEncoder
from metis_jax.types import Key, Policy, Variables

FlatShapes = dict[str, jax.ShapeDtypeStruct]
Inputs = tuple[jax.Array, ...]
_EXACT = Policy()


@dataclasses.dataclass(frozen=True)
class Component:
    """A kind of model.

    Attributes:
      config: the class of its configurations, by which it is known.
      module: called with a configuration and a `Policy`.
      inputs: a configuration to the smallest inputs of an `init` that touches every parameter.
      options: keyword arguments of that `init`.
    """

    config: type
    module: type[nn.Module]
    inputs: Callable[[Any], Inputs]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ModelInit:
    """A module with inputs and keyword arguments of an `init` that touches every parameter."""

    module: nn.Module
    inputs: Inputs
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def init(self, key: Key[jax.Array, ""]) -> Variables:
        """Fresh variables, with their logical axis names."""
        return self.module.init(key, *self.inputs, **self.options)


def _with_lengths(*shape: int) -> Inputs:
    return jnp.zeros((1, *shape), jnp.float32), jnp.ones((1,), jnp.int32)


def _tokens(*shape: int) -> Inputs:
    return (jnp.zeros((1, *shape), jnp.int32),)


_ENCODER = (lambda config: _with_lengths(2, config.input_width), {"method": "features"})
_ON_FEATURES = (lambda config: _with_lengths(2, config.feature_width),)

COMPONENTS: dict[str, Component] = {
    "ssl_encoder": Component(configs.SslEncoderConfig, SslEncoder, *_ENCODER),
    "whisper_encoder": Component(configs.WhisperEncoderConfig, WhisperEncoder, *_ENCODER),
    "semantic_codec": Component(configs.SemanticCodecConfig, SemanticCodec, *_ON_FEATURES),
    "phone_head": Component(configs.PhoneHeadConfig, PhoneHead, *_ON_FEATURES),
    "lip_head": Component(configs.LipHeadConfig, LipHead, *_ON_FEATURES),
    "acoustic_codec": Component(
        configs.AcousticCodecConfig, AcousticCodec, lambda config: _with_lengths(2 * config.hop)
    ),
    "semantic_generator": Component(
        configs.SemanticGeneratorConfig, SemanticGenerator, lambda config: _tokens(2), {"method": "init_all"}
    ),
    "acoustic_generator": Component(
        configs.AcousticGeneratorConfig,
        AcousticGenerator,
        lambda config: _tokens(2, config.num_levels),
        {"method": "init_all"},
    ),
    "visual_encoder": Component(
        configs.VisualEncoderConfig,
        VisualEncoder,
        lambda config: _with_lengths(2, config.crop, config.crop, 1),
        {"train": False},
    ),
    "duration_predictor": Component(
        configs.DurationPredictorConfig, DurationPredictor, lambda config: (*_tokens(2), jnp.ones((1,), jnp.int32))
    ),
}
_BY_CONFIG = {component.config: component for component in COMPONENTS.values()}


def _component_of(config: Any) -> Component:
    if type(config) not in _BY_CONFIG:
        raise ValueError(f"no model is configured by {type(config).__name__}")
    return _BY_CONFIG[type(config)]


def make_model(config: Any, policy: Policy = _EXACT) -> Any:
    """The module that `config` describes; ValueError for a configuration of no model."""
    return _component_of(config).module(config, policy)


def model_init(module: Any) -> ModelInit:
    """A module of the table with its smallest inputs."""
    component = _component_of(module.config)
    return ModelInit(module, component.inputs(module.config), component.options)


def abstract_variables(config: Any, lora: configs.LoraConfig | None = None) -> FlatShapes:
    """{variable path joined by "/": shape and dtype} of the model of `config`; nothing is computed or allocated."""
    return dict(_abstract_variables(config, lora))


@functools.cache
def _abstract_variables(config: Any, lora: configs.LoraConfig | None) -> FlatShapes:
    # Tracing all models of a bundle takes as long as reading it.
    question = (config, lora, jax.__version__, flax.__version__)
    found = answer_of("shapes", question, lambda: _traced_shapes(config, lora))
    return {path: jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype)) for path, (shape, dtype) in found.items()}


def _traced_shapes(config: Any, lora: configs.LoraConfig | None) -> dict[str, tuple[list[int], str]]:
    module = make_model(config)
    if lora is not None:
        module = module.clone(lora=lora)
    variables = jax.eval_shape(lambda: nn.unbox(model_init(module).init(jax.random.key(0))))
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    return {path: (list(leaf.shape), leaf.dtype.name) for path, leaf in flat.items()}

"""The stages that a config can name."""

from collections.abc import Mapping
from typing import Any

from metis_jax.sections import from_config_dict
from metis_jax.training.trainers.acoustic_codec import AcousticCodecStage
from metis_jax.training.trainers.acoustic_generator import AcousticGeneratorStage
from metis_jax.training.trainers.duration_predictor import DurationPredictorStage
from metis_jax.training.trainers.phonetic_codec import PhoneticCodecStage
from metis_jax.training.trainers.protocol import Stage
from metis_jax.training.trainers.semantic_codec import SemanticCodecStage
from metis_jax.training.trainers.semantic_generator import SemanticGeneratorStage
from metis_jax.training.trainers.ssl_denoising import SslDenoisingStage
from metis_jax.training.trainers.ssl_encoder import SslEncoderStage

STAGES: dict[str, type] = {
    "ssl_encoder": SslEncoderStage,
    "ssl_denoising": SslDenoisingStage,
    "semantic_codec": SemanticCodecStage,
    "phonetic_codec": PhoneticCodecStage,
    "acoustic_codec": AcousticCodecStage,
    "semantic_generator": SemanticGeneratorStage,
    "acoustic_generator": AcousticGeneratorStage,
    "duration_predictor": DurationPredictorStage,
}


def make_stage(name: str, section: Mapping[str, Any]) -> Stage:
    """The stage of a config: `config.stage` and its section `config.model`."""
    if name not in STAGES:
        raise ValueError(f"config.stage is {name!r}; use one of {', '.join(STAGES)}")
    return from_config_dict(STAGES[name], section, where="config.model")

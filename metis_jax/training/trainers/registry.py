"""The trainers that a config can name."""

from collections.abc import Mapping
from typing import Any

from metis_jax.sections import from_config_dict
from metis_jax.training.trainers.acoustic_codec import AcousticCodecTrainer
from metis_jax.training.trainers.acoustic_generator import AcousticGeneratorTrainer
from metis_jax.training.trainers.duration_predictor import DurationPredictorTrainer
from metis_jax.training.trainers.phonetic_codec import PhoneticCodecTrainer
from metis_jax.training.trainers.protocol import Trainer
from metis_jax.training.trainers.semantic_codec import SemanticCodecTrainer
from metis_jax.training.trainers.semantic_generator import SemanticGeneratorTrainer
from metis_jax.training.trainers.ssl_encoder import SslEncoderTrainer
from metis_jax.training.trainers.visual_encoder import VisualEncoderTrainer

TRAINERS: dict[str, type] = {
    "ssl_encoder": SslEncoderTrainer,
    "semantic_codec": SemanticCodecTrainer,
    "phonetic_codec": PhoneticCodecTrainer,
    "acoustic_codec": AcousticCodecTrainer,
    "semantic_generator": SemanticGeneratorTrainer,
    "acoustic_generator": AcousticGeneratorTrainer,
    "visual_encoder": VisualEncoderTrainer,
    "duration_predictor": DurationPredictorTrainer,
}


def make_trainer(name: str, section: Mapping[str, Any]) -> Trainer:
    """The trainer of a config: `config.stage` and its section `config.model`."""
    if name not in TRAINERS:
        raise ValueError(f"config.stage is {name!r}; use one of {', '.join(TRAINERS)}")
    return from_config_dict(TRAINERS[name], section, where="config.model")

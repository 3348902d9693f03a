"""An SSL encoder that hears through noise: from degraded speech its readout finds the log-mel spectrum of the clean.

As in WavLM (arXiv 2110.13900, section 4.2) noise and other voices are mixed into what is read and not into the target.
The features are then near enough to the spectrum that codes of them keep words, and those of noisy speech are near
those of the clean.  Not the paper's, whose encoder has learned as much from millions of hours.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from metis_jax.config import SslEncoderConfig
from metis_jax.models.components import ModelInit, model_init
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.objectives.codec_reconstruction import feature_loss
from metis_jax.ops.mel import log_mel
from metis_jax.sharding import to_host
from metis_jax.training.trainers.frontend import encoder_frames, learning_features
from metis_jax.training.trainers.pictures import feature_picture
from metis_jax.training.trainers.protocol import Batch, Loss, Params, Samples, Trainer
from metis_jax.types import Array, Float, Int, Key, Policy, Variables

ENCODER = "ssl_encoder"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SslDenoisingTrainer(Trainer):
    """L1 between the encoder's readout and the log-mel frames of clean speech.

    Attributes:
      clean_share: of the recordings, which are all read degraded, this share is read clean as well.  What passes clean
        speech on is soon learned.
    """

    reads: ClassVar[tuple[str, ...]] = ("finetune",)

    ssl_encoder: SslEncoderConfig
    clean_share: float = 1.0
    policy: Policy = Policy()

    def __post_init__(self):
        if not 0 < self.clean_share <= 1:
            raise ValueError(f"config.model.clean_share is {self.clean_share}; it must lie in (0, 1]")
        if not self.ssl_encoder.has_readout:
            raise ValueError("ssl_encoder.has_readout is False; it is the readout that learns to find clean speech")

    @property
    def _encoder(self) -> SslEncoder:
        return SslEncoder(self.ssl_encoder, self.policy)

    def models(self) -> dict[str, ModelInit]:
        return {ENCODER: model_init(self._encoder)}

    def configs(self) -> dict[str, Any]:
        return {ENCODER: dataclasses.replace(self.ssl_encoder, num_layers=self.ssl_encoder.hidden_layer)}

    def _features(
        self, variables: Variables, wave: Float[Array, "b l"], wave_lengths: Int[Array, " b"]
    ) -> Float[Array, "b t d"]:
        t = encoder_frames(wave.shape[1], self.ssl_encoder)
        return learning_features(self._encoder, variables, wave, wave_lengths, t)

    def _target(self, batch: Batch) -> Float[Array, "b t d"]:
        t = encoder_frames(batch["target"].shape[1], self.ssl_encoder)
        return log_mel(batch["target"], batch["target_lengths"], mel_bins=self.ssl_encoder.mel_bins)[0][:, :t]

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """L1 between readout and clean log-mel frames, a mean over the frames of degraded and clean rows.

        Reads `source` and `target` [b, l] at 16 kHz with their lengths in samples, and `lengths` [b] in frames.
        Nothing is drawn.
        """
        clean, lengths = self._target(batch), batch["lengths"]
        b = len(clean)
        n = max(1, round(self.clean_share * b))
        waves = jnp.concatenate([batch["source"], batch["target"][:n]], axis=0)
        wave_lengths = jnp.concatenate([batch["source_lengths"], batch["target_lengths"][:n]], axis=0)
        found = self._features(params[ENCODER], waves, wave_lengths)
        degraded, same = feature_loss(found[:b], clean, lengths), feature_loss(found[b:], clean[:n], lengths[:n])
        frames, clean_frames = (jnp.sum(x, dtype=jnp.float32) for x in (lengths, lengths[:n]))
        count = frames + clean_frames
        loss = (frames * degraded + clean_frames * same) / count
        return Loss(loss, count, {"degraded": degraded, "clean": same})

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        row = {name: x[:1] for name, x in batch.items()}
        pictures = {
            "clean": self._target(row),
            "found": self._features(params[ENCODER], row["source"], row["source_lengths"]),
        }
        count = int(row["lengths"][0])
        shown = {name: feature_picture(to_host(x)[0, :count]) for name, x in pictures.items()}
        return Samples(pictures={"log_mel": shown})

    def seconds(self, batch: Mapping[str, np.ndarray]) -> float:
        return float(np.sum(batch["target_lengths"])) / self.ssl_encoder.sample_rate

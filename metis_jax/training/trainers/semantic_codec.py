"""The semantic codec: reconstruction of SSL features through one codebook (MaskGCT section 3.2.1).

The features come from the frozen SSL encoder, inside the step.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.config import SemanticCodecConfig, SslEncoderConfig
from metis_jax.models.components import ModelInit, model_init
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.objectives.codec_reconstruction import feature_loss
from metis_jax.ops.lengths import valid_mask
from metis_jax.sharding import to_host
from metis_jax.training.trainers.frontend import encoder_frames, ssl_features
from metis_jax.training.trainers.pictures import feature_picture
from metis_jax.training.trainers.protocol import Batch, Loss, Metrics, Params, Samples, Trainer
from metis_jax.types import Array, Bool, Float, Int, Key, Policy

ENCODER, CODEC = "ssl_encoder", "semantic_codec"


def code_usage(codes: Int[Array, "b t"], is_valid: Bool[Array, "b t"], v: int) -> Metrics:
    """How many codes a batch used, and the perplexity of their distribution: both fall when a codebook collapses."""
    counts = jnp.zeros((v,), jnp.float32).at[codes].add(is_valid.astype(jnp.float32))
    shares = counts / jnp.maximum(jnp.sum(counts), jnp.float32(1))
    entropy = -jnp.sum(jax.scipy.special.xlogy(shares, shares))
    return {"codes_in_batch": jnp.sum(counts > 0, dtype=jnp.float32), "code_perplexity": jnp.exp(entropy)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemanticCodecTrainer(Trainer):
    """L1 reconstruction, codebook and commitment losses, weighted as the codec's config says."""

    reads: ClassVar[tuple[str, ...]] = ("semantic_codec",)

    semantic_codec: SemanticCodecConfig
    ssl_encoder: SslEncoderConfig
    policy: Policy = Policy()
    encoder_policy: Policy = Policy()

    @property
    def _encoder(self) -> SslEncoder:
        return SslEncoder(self.ssl_encoder, self.encoder_policy)

    @property
    def _codec(self) -> SemanticCodec:
        return SemanticCodec(self.semantic_codec, self.policy)

    def models(self) -> dict[str, ModelInit]:
        return {CODEC: model_init(self._codec), ENCODER: model_init(self._encoder)}

    def configs(self) -> dict[str, Any]:
        encoder = dataclasses.replace(self.ssl_encoder, num_layers=self.ssl_encoder.hidden_layer)
        return {CODEC: self.semantic_codec, ENCODER: encoder}

    def _features(self, params: Params, batch: Batch) -> Float[Array, "b t d"]:
        t = encoder_frames(batch["wave"].shape[1], self.ssl_encoder)
        return ssl_features(self._encoder, params[ENCODER], batch["wave"], batch["wave_lengths"], t)

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """L1 of the features plus codebook and commitment losses, a mean over frames (MaskGCT section 3.2.1).

        Reads `wave` [b, l] at 16 kHz, `wave_lengths` in samples and `lengths` [b] in frames.  SSL features have mean 0
        and variance 1.  Nothing is drawn.
        """
        features, lengths, config = self._features(params, batch), batch["lengths"], self.semantic_codec
        decoded, output = self._codec.apply(params[CODEC], features, lengths)
        reconstruction = feature_loss(decoded, features, lengths)
        # Means over rows, of which longer ones have more frames.
        weight = lengths.astype(jnp.float32) / jnp.sum(lengths, dtype=jnp.float32)
        codebook, commitment = (jnp.sum(weight * x) for x in (output.codebook_loss, output.commitment_loss))
        total = (
            jnp.float32(config.reconstruction_weight) * reconstruction
            + jnp.float32(config.codebook_weight) * codebook
            + jnp.float32(config.commitment_weight) * commitment
        )
        is_valid = valid_mask(lengths, features.shape[1])
        metrics = {"reconstruction": reconstruction, "codebook": codebook, "commitment": commitment}
        metrics |= code_usage(output.codes[:, :, 0], is_valid, config.codebook_size)
        return Loss(total, jnp.sum(lengths, dtype=jnp.float32), metrics)

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        batch = {name: x[:1] for name, x in batch.items()}
        features = self._features(params, batch)
        decoded, _ = self._codec.apply(params[CODEC], features, batch["lengths"])
        count = int(batch["lengths"][0])
        pictures = {"features": features, "decoded": decoded}
        return Samples(
            pictures={"features": {name: feature_picture(to_host(x[0, :count])) for name, x in pictures.items()}}
        )

    def seconds(self, batch: Mapping[str, np.ndarray]) -> float:
        return float(np.sum(batch["wave_lengths"])) / self.ssl_encoder.sample_rate

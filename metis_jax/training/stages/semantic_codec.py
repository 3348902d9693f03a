"""The semantic codec: reconstruction of SSL features through one codebook (MaskGCT section 3.2.1).

The features come from the frozen SSL encoder, inside the step.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from metis_jax.config import SemanticCodecConfig, SslEncoderConfig
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.objectives.codec_reconstruction import feature_loss
from metis_jax.ops.lengths import valid_mask
from metis_jax.training.kmeans import clusters
from metis_jax.training.stage import Batch, Metrics, Params, Samples
from metis_jax.training.stages.frontend import encoder_frames, ssl_features
from metis_jax.training.stages.pictures import feature_picture
from metis_jax.types import Array, Bool, Float, Int, Key, Policy

ENCODER, CODEC = "ssl_encoder", "semantic_codec"


def code_usage(codes: Int[Array, "b t"], is_valid: Bool[Array, "b t"], v: int) -> Metrics:
    """How many codes a batch used, and the perplexity of their distribution: both fall when a codebook collapses."""
    counts = jnp.zeros((v,), jnp.float32).at[codes].add(is_valid.astype(jnp.float32))
    shares = counts / jnp.maximum(jnp.sum(counts), jnp.float32(1))
    entropy = -jnp.sum(jax.scipy.special.xlogy(shares, shares))
    return {"codes_in_batch": jnp.sum(counts > 0, dtype=jnp.float32), "code_perplexity": jnp.exp(entropy)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemanticCodecStage:
    """L1 reconstruction, codebook and commitment losses, weighted as the codec's config says.

    Attributes:
      kmeans_frames: frames whose cluster centres the codebook of a plain codec starts from; 0 draws it, as the paper's.
    """

    semantic_codec: SemanticCodecConfig
    ssl_encoder: SslEncoderConfig
    kmeans_frames: int = 0
    policy: Policy = Policy()
    encoder_policy: Policy = Policy()

    def __post_init__(self):
        if self.kmeans_frames and not self.semantic_codec.is_plain:
            raise ValueError("kmeans_frames is for a plain codec; set config.model.semantic_codec.is_plain too")

    @property
    def _encoder(self) -> SslEncoder:
        return SslEncoder(self.ssl_encoder, self.encoder_policy)

    @property
    def _codec(self) -> SemanticCodec:
        return SemanticCodec(self.semantic_codec, self.policy)

    def models(self) -> dict[str, tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]:
        lengths = jnp.ones((1,), jnp.int32)
        mel = jnp.zeros((1, 2, self.ssl_encoder.input_width), jnp.float32)
        features = jnp.zeros((1, 2, self.semantic_codec.feature_width), jnp.float32)
        return {
            CODEC: (self._codec, (features, lengths), {}),
            ENCODER: (self._encoder, (mel, lengths), {"method": "features"}),
        }

    def configs(self) -> dict[str, Any]:
        encoder = dataclasses.replace(self.ssl_encoder, num_layers=self.ssl_encoder.hidden_layer)
        return {CODEC: self.semantic_codec, ENCODER: encoder}

    def _features(self, params: Params, batch: Batch) -> Float[Array, "b t d"]:
        t = encoder_frames(batch["wave"].shape[1], self.ssl_encoder)
        return ssl_features(self._encoder, params[ENCODER], batch["wave"], batch["wave_lengths"], t)

    def first_look(self, params: Params, batches: Iterator[Batch], seed: int) -> dict[str, dict[str, np.ndarray]]:
        """Clusters of the first frames, for the codebook."""
        features_of = jax.jit(lambda batch: self._features(params, batch))
        frames, count = [], 0
        while count < self.kmeans_frames:
            batch = next(batches)
            gathered = (
                multihost_utils.process_allgather(x, tiled=True) for x in (features_of(batch), batch["lengths"])
            )
            features, lengths = map(np.asarray, gathered)
            frames += [row[:n] for row, n in zip(features, lengths, strict=True)]
            count += int(lengths.sum())
        if not frames:
            return {}
        config = self.semantic_codec
        found = clusters(np.concatenate(frames), config.codebook_size, config.code_width, seed=seed)
        return {CODEC: {f"params/quantizer/{name}": x for name, x in found.items()}}

    def loss(
        self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool
    ) -> tuple[Float[Array, ""], Metrics]:
        config, lengths = self.semantic_codec, batch["lengths"]
        features = self._features(params, batch)
        decoded, output = self._codec.apply(params[CODEC], features, lengths)
        reconstruction = feature_loss(decoded, features, lengths)
        codebook, commitment = jnp.mean(output.codebook_loss), jnp.mean(output.commitment_loss)
        total = (
            reconstruction
            + jnp.float32(config.codebook_weight) * codebook
            + jnp.float32(config.commitment_weight) * commitment
        )
        is_valid = valid_mask(lengths, features.shape[1])
        usage = code_usage(output.codes[:, :, 0], is_valid, config.codebook_size)
        return total, {"reconstruction": reconstruction, "codebook": codebook, "commitment": commitment} | usage

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        row = {name: x[:1] for name, x in batch.items()}
        features = self._features(params, row)
        decoded, _ = self._codec.apply(params[CODEC], features, row["lengths"])
        count = int(row["lengths"][0])
        pictures = {"features": features[0, :count], "decoded": decoded[0, :count]}
        return Samples(pictures={name: feature_picture(np.asarray(x)) for name, x in pictures.items()})

    def seconds(self, batch: Mapping[str, np.ndarray]) -> float:
        return float(np.sum(batch["wave_lengths"])) / self.ssl_encoder.sample_rate

"""The semantic codec: reconstruction of SSL features through one codebook (MaskGCT section 3.2.1).

The features come from the frozen SSL encoder, inside the step.  Where a batch has a degraded recording beside the clean
one, both are coded, and what is reconstructed is the log-mel spectrum of the clean one: tokens that noise changes less.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.config import SemanticCodecConfig, SslEncoderConfig
from metis_jax.models.components import ModelInit, model_init
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.objectives.codec_reconstruction import feature_loss
from metis_jax.ops.lengths import valid_mask
from metis_jax.ops.mel import log_mel
from metis_jax.ops.vq import running_means_loss
from metis_jax.sharding import to_host
from metis_jax.training.trainers.frontend import encoder_frames, ssl_features
from metis_jax.training.trainers.kmeans import clusters
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


def pass_by(codec: SemanticCodec, features: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> Float[Array, "b t d"]:
    """What the decoder is given where no codes are used: features through the width of a code."""
    quantizer = codec.quantizer
    return quantizer.project_out(quantizer.project_in(codec.latents(features, lengths)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemanticCodecTrainer(Trainer):
    """L1 reconstruction, codebook and commitment losses, weighted as the codec's config says.

    Attributes:
      is_quantized: False passes the codes by: networks and projections learn what a code's width can hold, and codes
        can then start as clusters of that.  The paper begins with both at once, which takes longer.
      kmeans_frames: frames whose clusters, behind the encoder, the codes start from; 0 leaves them as they are.
      code_memory: above 0, codes are running means over about as many frames (`ops.vq.running_means_loss`), which the
        optimizer's `descend` has to name; with accumulation, over as many of a part.  At 0, as in the paper, gradients
        of the codebook loss move them.
    """

    reads: ClassVar[tuple[str, ...]] = ("semantic_codec", "finetune")

    semantic_codec: SemanticCodecConfig
    ssl_encoder: SslEncoderConfig
    is_quantized: bool = True
    kmeans_frames: int = 0
    code_memory: float = 0.0
    policy: Policy = Policy()
    encoder_policy: Policy = Policy()

    def __post_init__(self):
        if self.kmeans_frames and not self.is_quantized:
            raise ValueError(f"config.model.kmeans_frames is {self.kmeans_frames}; without codes it has to be 0")

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
        """Of the recordings; where they have degraded versions, of these first."""
        names = ("source", "target") if "source" in batch else ("wave",)
        waves = jnp.concatenate([batch[name] for name in names], axis=0)
        lengths = jnp.concatenate([batch[f"{name}_lengths"] for name in names], axis=0)
        t = encoder_frames(waves.shape[1], self.ssl_encoder)
        return ssl_features(self._encoder, params[ENCODER], waves, lengths, t)

    def _task(
        self, params: Params, batch: Batch
    ) -> tuple[Float[Array, "b t d"], Float[Array, "b t d"], Int[Array, " b"]]:
        """Features to code, what shall be reconstructed from them, and their lengths."""
        features = self._features(params, batch)
        if "source" not in batch:
            return features, features, batch["lengths"]
        clean = log_mel(batch["target"], batch["target_lengths"], mel_bins=self.ssl_encoder.mel_bins)[0]
        clean = clean[:, : features.shape[1]]
        return features, jnp.concatenate([clean] * 2, axis=0), jnp.concatenate([batch["lengths"]] * 2, axis=0)

    def first_look(self, params: Params, batches: Iterator[Batch], seed: int) -> dict[str, dict[str, np.ndarray]]:
        """Clusters of what the decoder would be given of the first frames, for the codebook."""

        @jax.jit
        def passed(params: Params, batch: Batch) -> tuple[Float[Array, "b t d"], Int[Array, " b"]]:
            features, _, lengths = self._task(params, batch)
            return nn.apply(pass_by, self._codec)(params[CODEC], features, lengths), lengths

        frames, count = [], 0
        while count < self.kmeans_frames:
            vectors, lengths = (to_host(x) for x in passed(params, next(batches)))
            frames += [row[:n] for row, n in zip(vectors, lengths, strict=True)]
            count += int(lengths.sum())
        if not frames:
            return {}
        config = self.semantic_codec
        zero, units = jnp.zeros((1, config.feature_width)), jnp.eye(config.feature_width)
        project = nn.apply(lambda codec, x: codec.quantizer.project_out(codec.quantizer.project_in(x)), self._codec)
        bias = project(params[CODEC], zero[None])[0]
        kernel = project(params[CODEC], units[None])[0] - bias
        found = clusters(
            np.concatenate(frames),
            config.codebook_size,
            config.code_width,
            seed=seed,
            kernel=to_host(kernel),
            bias=to_host(bias[0]),
        )
        return {CODEC: {f"params/quantizer/{name}": x for name, x in found.items()}}

    def _reconstruct(
        self, codec: SemanticCodec, features: Float[Array, "b t d"], lengths: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t d"], Float[Array, ""], Metrics]:
        """What the decoder makes of features, the losses of codes and encoder, and what they have to report."""
        if not self.is_quantized:
            return codec.decoder(pass_by(codec, features, lengths), lengths), jnp.float32(0), {}
        config, is_valid = self.semantic_codec, valid_mask(lengths, features.shape[1])
        latents = codec.latents(features, lengths)
        output = codec.quantizer(latents, lengths)
        codes = output.codes[:, :, 0]
        # Means over rows, of which longer ones have more frames.
        weight = lengths.astype(jnp.float32) / jnp.sum(lengths, dtype=jnp.float32)
        codebook, commitment = (jnp.sum(weight * x) for x in (output.codebook_loss, output.commitment_loss))
        if self.code_memory:
            projected, vectors = codec.quantizer.project_in(latents), codec.quantizer.codebook
            means = running_means_loss(projected, vectors, codes, is_valid, self.code_memory)
            # Codes follow the encoder: it would come nearest to them by making everything small.
            commitment = commitment / jax.lax.stop_gradient(jnp.mean(jnp.var(vectors, axis=0)))
            # A sum over codes says nothing to who reads the loss, whose gradient it is for.
            loss = means - jax.lax.stop_gradient(means)
        else:
            loss = jnp.float32(config.codebook_weight) * codebook
        loss = loss + jnp.float32(config.commitment_weight) * commitment
        metrics = {"codebook": codebook, "commitment": commitment} | code_usage(codes, is_valid, config.codebook_size)
        return codec.decoder(output.quantized, lengths), loss, metrics

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """L1 of what is reconstructed plus codebook and commitment losses, a mean over frames (MaskGCT section 3.2.1).

        Reads `wave` [b, l] at 16 kHz and `wave_lengths` in samples, or `source` and `target` with theirs, and
        `lengths` [b] in frames.  SSL features have mean 0 and variance 1.  Nothing is drawn.
        """
        features, target, lengths = self._task(params, batch)
        decoded, loss, metrics = nn.apply(self._reconstruct, self._codec)(params[CODEC], features, lengths)
        reconstruction = feature_loss(decoded, target, lengths)
        metrics["reconstruction"] = reconstruction
        if "source" in batch:
            b = batch["source"].shape[0]
            metrics["degraded"] = feature_loss(decoded[:b], target[:b], lengths[:b])
            metrics["clean"] = feature_loss(decoded[b:], target[b:], lengths[b:])
        total = jnp.float32(self.semantic_codec.reconstruction_weight) * reconstruction + loss
        return Loss(total, jnp.sum(lengths, dtype=jnp.float32), metrics)

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        features, target, lengths = self._task(params, {name: x[:1] for name, x in batch.items()})
        decoded, _, _ = nn.apply(self._reconstruct, self._codec)(params[CODEC], features, lengths)
        count = int(lengths[0])
        kinds = {"features": {"features": features}, "target": {"target": target, "decoded": decoded}}
        return Samples(
            pictures={
                kind: {name: feature_picture(to_host(x[0, :count])) for name, x in pictures.items()}
                for kind, pictures in kinds.items()
            }
        )

    def seconds(self, batch: Mapping[str, np.ndarray]) -> float:
        lengths = batch["target_lengths" if "target" in batch else "wave_lengths"]
        return float(np.sum(lengths)) / self.ssl_encoder.sample_rate

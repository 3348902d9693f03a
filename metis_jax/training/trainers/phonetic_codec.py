"""The semantic codec with a phone loss: its codes keep what is said, of clean speech and of degraded.

Beside the paper's losses (MaskGCT section 3.2.1) a head behind the codes, which is thrown away, has to tell the phones.
What is coded is a recording as it is heard; what is restored are the SSL features of the clean one.  An SSL encoder
that is large enough does both by itself, and needs none of this.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.cluster import MiniBatchKMeans

from metis_jax.config import AnySslEncoderConfig, PhoneHeadConfig, SemanticCodecConfig
from metis_jax.models.components import ModelInit, model_init
from metis_jax.models.phone_head import PhoneHead
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.ssl_features import AnySslEncoder, make_ssl_encoder
from metis_jax.objectives.codec_reconstruction import feature_loss
from metis_jax.objectives.phones import SILENCE, UNHEARD, ctc_loss, frame_labels, frame_loss, sounds
from metis_jax.ops.lengths import valid_mask
from metis_jax.sharding import to_host
from metis_jax.text import vocabulary
from metis_jax.training.trainers.frontend import encoder_frames, ssl_features
from metis_jax.training.trainers.pictures import feature_picture
from metis_jax.training.trainers.protocol import Batch, Loss, Metrics, Params, Samples, Trainer
from metis_jax.training.trainers.semantic_codec import code_usage
from metis_jax.types import Array, Float, Int, Key, Policy

CODEC, ENCODER, HEAD = "semantic_codec", "ssl_encoder", "phone_head"


def pass_by(codec: SemanticCodec, features: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> Float[Array, "b t d"]:
    """What the decoder is given where no codes are used: features through the width of a code."""
    quantizer = codec.quantizer
    return quantizer.project_out(quantizer.project_in(codec.latents(features, lengths)))


def _projected(codec: SemanticCodec, features: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> Array:
    """What the quantizer looks up."""
    return codec.quantizer.project_in(codec.latents(features, lengths))


def phone_labels(count: int) -> Int[np.ndarray, " v"]:
    """What the first `count` phones of the table are to the losses (`objectives/phones.py`)."""
    labels = np.arange(count, dtype=np.int32)
    labels[[mark for mark in vocabulary.marks() if mark < count]] = SILENCE
    labels[vocabulary.word_boundary()] = UNHEARD
    return labels


def clusters(vectors: Float[np.ndarray, "n c"], count: int, *, seed: int) -> Float[np.ndarray, "v c"]:
    """Means of `count` clusters of vectors that lie at small angles, which is what a quantizer compares.

    ValueError if there are fewer vectors than clusters.
    """
    if len(vectors) < count:
        raise ValueError(f"{len(vectors)} frames cannot start {count} codes; raise config.model.kmeans_frames")
    directions = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found = MiniBatchKMeans(count, batch_size=16384, max_iter=20, n_init=1, random_state=seed).fit(directions)
    sizes = np.bincount(found.labels_, minlength=count)[:, None]
    means = np.zeros((count, vectors.shape[1]))
    np.add.at(means, found.labels_, vectors)
    # A cluster that lost its last vector keeps its direction.
    return np.where(sizes > 0, means / np.maximum(sizes, 1), found.cluster_centers_).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhoneticCodecTrainer(Trainer):
    """The semantic codec's losses and those of the phones.  Batches are those of fine-tuning for se, with phones.

    Attributes:
      phone_weight: of both phone losses, which are sums over phones and frames for every frame of the batch.
      is_quantized: False passes the codes by: the networks learn what a code's width can hold.  The paper begins with
        codes at once, which then take long to spread.
      kmeans_frames: frames whose clusters the codes start from; 0 leaves them as they are.
    """

    reads: ClassVar[tuple[str, ...]] = ("finetune",)

    semantic_codec: SemanticCodecConfig
    ssl_encoder: AnySslEncoderConfig
    phone_head: PhoneHeadConfig = PhoneHeadConfig()
    phone_weight: float = 4.0
    is_quantized: bool = True
    kmeans_frames: int = 0
    policy: Policy = Policy()
    encoder_policy: Policy = Policy()

    def __post_init__(self):
        if self.kmeans_frames and not self.is_quantized:
            raise ValueError(f"config.model.kmeans_frames is {self.kmeans_frames}; without codes it has to be 0")

    @property
    def _encoder(self) -> AnySslEncoder:
        return make_ssl_encoder(self.ssl_encoder, self.encoder_policy)

    @property
    def _codec(self) -> SemanticCodec:
        return SemanticCodec(self.semantic_codec, self.policy)

    @property
    def _phones(self) -> int:
        return self.phone_head.phone_vocabulary

    @property
    def _head(self) -> PhoneHead:
        return PhoneHead(self.phone_head, self.policy)

    def models(self) -> dict[str, ModelInit]:
        return {CODEC: model_init(self._codec), ENCODER: model_init(self._encoder), HEAD: model_init(self._head)}

    def configs(self) -> dict[str, Any]:
        encoder = dataclasses.replace(self.ssl_encoder, num_layers=self.ssl_encoder.hidden_layer)
        return {CODEC: self.semantic_codec, HEAD: self.phone_head, ENCODER: encoder}

    def _features(self, params: Params, batch: Batch) -> tuple[Float[Array, "b t d"], Float[Array, "b t d"]]:
        """Of the recordings as they are heard, and of the clean ones."""
        waves = jnp.concatenate([batch["source"], batch["target"]], axis=0)
        samples = jnp.concatenate([batch["source_lengths"], batch["target_lengths"]], axis=0)
        t = encoder_frames(waves.shape[1], self.ssl_encoder)
        heard, clean = jnp.split(ssl_features(self._encoder, params[ENCODER], waves, samples, t), 2, axis=0)
        return heard, clean

    def first_look(self, params: Params, batches: Iterator[Batch], seed: int) -> dict[str, dict[str, np.ndarray]]:
        """Codes at clusters of the first frames."""

        @jax.jit
        def project(params: Params, batch: Batch) -> Float[Array, "b t c"]:
            heard, _ = self._features(params, batch)
            return self._codec.apply(params[CODEC], heard, batch["lengths"], method=_projected)

        frames, count = [], 0
        while count < self.kmeans_frames:
            batch = next(batches)
            vectors, lengths = to_host(project(params, batch)), to_host(batch["lengths"])
            frames += [row[:n] for row, n in zip(vectors, lengths, strict=True)]
            count += int(lengths.sum())
        if not frames:
            return {}
        found = clusters(np.concatenate(frames), self.semantic_codec.codebook_size, seed=seed)
        return {CODEC: {"params/quantizer/codebook": found}}

    def _coded(
        self, params: Params, heard: Float[Array, "b t d"], lengths: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t d"], Float[Array, "b t d"], Float[Array, ""], Metrics]:
        """What decoder and head make of features, and the loss of the codes with what it has to report."""
        if not self.is_quantized:
            vectors = self._codec.apply(params[CODEC], heard, lengths, method=pass_by)
            return self._codec.apply(params[CODEC], vectors, lengths, method="decode"), vectors, jnp.float32(0), {}
        config = self.semantic_codec
        decoded, output = self._codec.apply(params[CODEC], heard, lengths)
        # Means over rows, of which longer ones have more frames.
        weight = lengths.astype(jnp.float32) / jnp.sum(lengths, dtype=jnp.float32)
        codebook, commitment = (jnp.sum(weight * x) for x in (output.codebook_loss, output.commitment_loss))
        loss = jnp.float32(config.codebook_weight) * codebook + jnp.float32(config.commitment_weight) * commitment
        usage = code_usage(output.codes[:, :, 0], valid_mask(lengths, heard.shape[1]), config.codebook_size)
        return decoded, output.quantized, loss, {"codebook": codebook, "commitment": commitment} | usage

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """The codec's losses and, weighted, cross-entropy and CTC of the phones, all for every frame of the batch.

        Reads `source` and `target` [b, l] at 16 kHz with their lengths in samples, `lengths` [b] in frames, `phones`
        [b, p], `phone_lengths` [b] and `phone_bounds` [b, p + 1] in frames.  Nothing is drawn.
        """
        heard, clean = self._features(params, batch)
        config, lengths = self.semantic_codec, batch["lengths"]
        is_valid = valid_mask(lengths, heard.shape[1])
        decoded, vectors, loss, metrics = self._coded(params, heard, lengths)
        reconstruction = feature_loss(decoded, clean, lengths)
        frame_logits, ctc_logits = self._head.apply(params[HEAD], vectors, lengths)
        phones, counts, labels = batch["phones"], batch["phone_lengths"], jnp.asarray(phone_labels(self._phones))
        spoken, is_known = frame_labels(phones, batch["phone_bounds"], counts, labels, clean.shape[1])
        frame_total, accuracy = frame_loss(frame_logits, spoken, is_known & is_valid)
        ctc_total = ctc_loss(ctc_logits, lengths, *sounds(phones, counts, labels))
        frames = jnp.sum(lengths, dtype=jnp.float32)
        frame, ctc = frame_total / frames, ctc_total / frames
        total = (
            loss
            + jnp.float32(config.reconstruction_weight) * reconstruction
            + jnp.float32(self.phone_weight) * (frame + ctc)
        )
        metrics |= {
            "reconstruction": reconstruction,
            "phones": frame,
            "phone_accuracy": accuracy,
            "ctc": ctc,
        }
        return Loss(total, frames, metrics)

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        batch = {name: x[:1] for name, x in batch.items()}
        heard, clean = self._features(params, batch)
        decoded, vectors, _, _ = self._coded(params, heard, batch["lengths"])
        logits, _ = self._head.apply(params[HEAD], vectors, batch["lengths"])
        count = int(batch["lengths"][0])
        shown = {"clean": clean, "heard": heard, "decoded": decoded}
        return Samples(
            pictures={
                "features": {name: feature_picture(to_host(x[0, :count])) for name, x in shown.items()},
                "phones": {"posterior": feature_picture(to_host(jax.nn.softmax(logits)[0, :count, :64]))},
            }
        )

    def seconds(self, batch: Mapping[str, np.ndarray]) -> float:
        return float(np.sum(batch["target_lengths"])) / self.ssl_encoder.sample_rate

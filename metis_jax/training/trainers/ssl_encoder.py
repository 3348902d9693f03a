"""The SSL encoder from nothing: masked prediction of random-projection-quantizer targets (BEST-RQ, arXiv 2202.01855).

This is what lets the whole chain be trained in this repository alone.  All `num_layers` are trained; the features that
later stages read come from `hidden_layer`, and their mean and variance are measured when the encoder is exported.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.config import SslEncoderConfig
from metis_jax.layers.dense import Dense
from metis_jax.layers.stack import keep_layers
from metis_jax.models.components import ModelInit, model_init
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.objectives.best_rq import random_codes, sample_spans
from metis_jax.objectives.masked_tokens import masked_token_loss
from metis_jax.ops.lengths import valid_mask
from metis_jax.ops.mel import log_mel
from metis_jax.sharding import to_host
from metis_jax.training.trainers.pictures import feature_picture
from metis_jax.training.trainers.protocol import Batch, Loss, Params, Samples, Trainer
from metis_jax.types import EMBED, VOCAB, Array, Float, Int, Key, Policy, Variables

ENCODER, HEAD = "ssl_encoder", "head"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SslEncoderTrainer(Trainer):
    """Masked prediction of `num_codebooks` random codes per frame.

    Attributes:
      target_seed: stands for the projections and codebooks.
      start_probability, span: masks, in 20 ms frames; 0.02 and 20 hide about a third of the frames.
      variance_floor: least variance written for a feature, which later stages divide by.
    """

    reads: ClassVar[tuple[str, ...]] = ("ssl_encoder",)

    ssl_encoder: SslEncoderConfig
    policy: Policy = Policy()
    target_seed: int = 0
    num_codebooks: int = 4
    codebook_size: int = 8192
    code_width: int = 16
    start_probability: float = 0.02
    span: int = 20
    variance_floor: float = 1e-4

    @property
    def _encoder(self) -> SslEncoder:
        config = dataclasses.replace(self.ssl_encoder, hidden_layer=self.ssl_encoder.num_layers)
        return SslEncoder(config, self.policy)

    @property
    def _head(self) -> Dense:
        return Dense(self.num_codebooks * self.codebook_size, (EMBED, VOCAB), dtype=self.policy.compute_dtype)

    def models(self) -> dict[str, ModelInit]:
        hidden = jnp.zeros((1, 2, self.ssl_encoder.width), jnp.float32)
        return {ENCODER: model_init(self._encoder), HEAD: ModelInit(self._head, (hidden,))}

    def configs(self) -> dict[str, Any]:
        return {ENCODER: self.ssl_encoder}

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """Cross-entropy of the codes of masked frames, a mean over them and over codebooks (arXiv 2202.01855).

        Reads `wave` [b, l] at 16 kHz and `wave_lengths` [b] in samples.  `key` draws masks and dropout.
        """
        mel, lengths = log_mel(batch["wave"], batch["wave_lengths"], mel_bins=self.ssl_encoder.mel_bins)
        b, t, _ = mel.shape
        q, v = self.num_codebooks, self.codebook_size
        codes = random_codes(mel, seed=self.target_seed, num_codebooks=q, codebook_size=v, code_width=self.code_width)
        mask_key, dropout_key = jax.random.split(key)
        is_masked = sample_spans(mask_key, lengths, t, start_probability=self.start_probability, span=self.span)
        hidden = self._encoder.apply(
            params[ENCODER],
            mel,
            lengths,
            is_masked=is_masked,
            deterministic=deterministic,
            rngs={"dropout": dropout_key},
        )
        logits = self._head.apply(params[HEAD], hidden).reshape(b, t, q, v)
        results = [masked_token_loss(logits[:, :, i], codes[:, :, i], is_masked) for i in range(q)]
        total = jax.tree.map(lambda *parts: sum(parts[1:], start=parts[0]) / jnp.float32(q), *results)
        used = jnp.zeros((v,), bool).at[codes[:, :, 0]].set(valid_mask(lengths, t))
        metrics = {"accuracy": total.accuracy, "codes_in_batch": jnp.sum(used, dtype=jnp.float32)}
        return Loss(total.loss, total.count, metrics)

    def finish(self, params: Params, batches: Iterator[Mapping[str, np.ndarray]]) -> Params:
        """Sets mean and variance of the features, over the valid frames of `batches`."""
        config = self.ssl_encoder
        encoder = SslEncoder(config, self.policy)
        variables = jax.tree.map(jnp.asarray, params[ENCODER])
        shortened: Variables = dict(variables) | {"params": keep_layers(variables["params"], config.hidden_layer)}

        @jax.jit
        def sums(wave: Float[Array, "b l"], wave_lengths: Int[Array, " b"]) -> tuple[Array, Array, Array]:
            mel, lengths = log_mel(wave, wave_lengths, mel_bins=config.mel_bins)
            hidden = encoder.apply(shortened, mel, lengths, deterministic=True).astype(jnp.float32)
            hidden = jnp.where(valid_mask(lengths, mel.shape[1])[:, :, None], hidden, jnp.float32(0))
            return jnp.sum(lengths), jnp.sum(hidden, axis=(0, 1)), jnp.sum(jnp.square(hidden), axis=(0, 1))

        count, total, squares = 0, np.zeros(config.width), np.zeros(config.width)
        for batch in batches:
            one, two, three = jax.device_get(sums(batch["wave"], batch["wave_lengths"]))
            count, total, squares = count + int(one), total + two, squares + three
        mean = total / count
        variance = np.maximum(squares / count - mean**2, self.variance_floor)
        statistics = {"mean": mean.astype(np.float32), "variance": variance.astype(np.float32)}
        return params | {ENCODER: dict(variables) | {"statistics": statistics}}

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        mel, lengths = log_mel(batch["wave"][:1], batch["wave_lengths"][:1], mel_bins=self.ssl_encoder.mel_bins)
        hidden = self._encoder.apply(params[ENCODER], mel, lengths, deterministic=True)
        count = int(lengths[0])
        pictures = {"log_mel": mel[0, :count], "last_layer": hidden[0, :count]}
        return Samples(pictures={name: {name: feature_picture(to_host(x))} for name, x in pictures.items()})

    def seconds(self, batch: Mapping[str, np.ndarray]) -> float:
        return float(np.sum(batch["wave_lengths"])) / self.ssl_encoder.sample_rate

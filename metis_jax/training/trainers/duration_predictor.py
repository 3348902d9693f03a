"""The duration predictor: how long the phones of an utterance last, and all of them together.

Where only the length of the whole is known, the loss is on its logarithm; where bounds of the phones are, on theirs as
well.  Absolute errors make the model predict the median over the speakers of the corpus, from which the tempo of a
prompt is measured (models/duration_predictor.py).
"""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

from metis_jax.config import DurationPredictorConfig
from metis_jax.models.components import ModelInit, model_init
from metis_jax.models.duration_predictor import DurationPredictor, total_frames
from metis_jax.ops.lengths import row_means, valid_mask
from metis_jax.training.trainers.protocol import Batch, Loss, Params, Trainer
from metis_jax.types import Array, Float, Int, Key, Policy

PREDICTOR = "duration_predictor"


def _phone_error(
    log_frames: Float[Array, "b p"], bounds: Float[Array, "b p1"], lengths: Int[Array, " b"]
) -> Float[Array, ""]:
    """Absolute error of the phones' log frames: the mean over rows of each row's mean, 0 in a row without bounds."""
    frames = bounds[:, 1:] - bounds[:, :-1]
    is_known = valid_mask(lengths, frames.shape[1]) & (frames > 0)
    difference = jnp.where(is_known, log_frames - jnp.log(jnp.where(is_known, frames, 1)), jnp.float32(0))
    return jnp.mean(row_means(jnp.abs(difference), is_known))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DurationPredictorTrainer(Trainer):
    """Absolute errors of log frames, of the whole and of phones.  Batches are those of fine-tuning for task tts."""

    reads: ClassVar[tuple[str, ...]] = ("finetune",)

    predictor: DurationPredictorConfig
    policy: Policy = Policy()

    @property
    def _model(self) -> DurationPredictor:
        return DurationPredictor(self.predictor, self.policy)

    def models(self) -> dict[str, ModelInit]:
        return {PREDICTOR: model_init(self._model)}

    def configs(self) -> dict[str, Any]:
        return {PREDICTOR: self.predictor}

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """Absolute error of the log of all frames plus that of the phones' log frames, each a mean over rows.

        Reads `phones` [b, p], `phone_lengths` [b], `lengths` [b] in frames at 50 Hz, and `phone_bounds` [b, p + 1] in
        frames.  Nothing is drawn.
        """
        phones, phone_lengths = batch["phones"], batch["phone_lengths"]
        log_frames = self._model.apply(params[PREDICTOR], phones, phone_lengths)
        predicted = total_frames(log_frames, phone_lengths)
        difference = jnp.log(predicted) - jnp.log(batch["lengths"].astype(jnp.float32))
        relative = jnp.mean(jnp.abs(jnp.expm1(difference)))
        phone = _phone_error(log_frames, batch["phone_bounds"], phone_lengths)
        metrics = {"relative_error": relative, "bias": jnp.mean(difference), "phone_error": phone}
        return Loss(jnp.mean(jnp.abs(difference)) + phone, jnp.float32(difference.shape[0]), metrics)

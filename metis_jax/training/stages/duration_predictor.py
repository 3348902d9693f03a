"""The duration predictor: total lengths of utterances from their phones.

Only the length of the whole is known, so the loss is on its logarithm.  Its absolute error makes the model predict the
median over the speakers of the corpus, from which the tempo of a prompt is measured (models/duration_predictor.py).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from metis_jax.config import DurationPredictorConfig
from metis_jax.models.duration_predictor import DurationPredictor, total_frames
from metis_jax.training.stage import Batch, Loss, Params, Samples
from metis_jax.types import Array, Key, Policy

PREDICTOR = "duration_predictor"
FRAME_RATE = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class DurationPredictorStage:
    """Absolute error of log total frames.  Batches are those of fine-tuning for task tts."""

    predictor: DurationPredictorConfig
    policy: Policy = Policy()

    @property
    def _model(self) -> DurationPredictor:
        return DurationPredictor(self.predictor, self.policy)

    def models(self) -> dict[str, tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]:
        return {PREDICTOR: (self._model, (jnp.zeros((1, 2), jnp.int32), jnp.ones((1,), jnp.int32)), {})}

    def configs(self) -> dict[str, Any]:
        return {PREDICTOR: self.predictor}

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        phones, phone_lengths = batch["phones"], batch["phone_lengths"]
        predicted = total_frames(self._model.apply(params[PREDICTOR], phones, phone_lengths), phone_lengths)
        difference = jnp.log(predicted) - jnp.log(batch["lengths"].astype(jnp.float32))
        relative = jnp.mean(jnp.abs(jnp.expm1(difference)))
        metrics = {"relative_error": relative, "bias": jnp.mean(difference)}
        return Loss(jnp.mean(jnp.abs(difference)), jnp.float32(difference.shape[0]), metrics)

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        return Samples()

    def seconds(self, batch: Mapping[str, np.ndarray]) -> float:
        return float(np.sum(batch["lengths"])) / FRAME_RATE

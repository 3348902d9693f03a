"""How long phones last, by the duration predictor of a bundle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.config import DurationPredictorConfig
from metis_jax.inference.buckets import PHONE_BUCKETS, bucket
from metis_jax.models.duration_predictor import DurationPredictor
from metis_jax.types import Array, Float, Int, Variables
from metis_jax.weights.bundle import Bundle, kind_of
from metis_jax.weights.tensor_files import WeightsError

COMPONENT = "duration_predictor"


@functools.partial(jax.jit, static_argnames="model")
def _frames(
    model: DurationPredictor, variables: Variables, phones: Int[Array, "b p"], lengths: Int[Array, " b"]
) -> Float[Array, "b p"]:
    return jnp.exp(model.apply(variables, phones, lengths))


class Durations:
    """Frames that phones take at an average tempo; the ratio of two of them holds for any voice."""

    def __init__(self, bundle: Bundle):
        config, self._variables = bundle.load(COMPONENT)
        if not isinstance(config, DurationPredictorConfig):
            raise WeightsError(f"{bundle.path}: {COMPONENT} is a {kind_of(config)}")
        self._model = DurationPredictor(config)

    def __call__(self, phones: Int[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
        """Frames of each phone of a sequence of at least one."""
        padded = np.zeros((1, bucket(len(phones), PHONE_BUCKETS)), np.int32)
        padded[0, : len(phones)] = phones
        [frames] = _frames(self._model, self._variables, padded, np.array([len(phones)], np.int32))
        return np.asarray(frames)[: len(phones)]

"""The duration predictor: where it starts, padding, its bundle, and that it learns lengths from totals."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metis_jax.config import SIZES, DurationPredictorConfig
from metis_jax.models.duration_predictor import TYPICAL_FRAMES, DurationPredictor, total_frames
from metis_jax.training.trainers.registry import make_trainer
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.bundle_writer import write_bundle

TINY = dataclasses.replace(SIZES["tiny"][DurationPredictorConfig], phone_vocabulary=8)
MODEL = DurationPredictor(TINY)


@pytest.fixture(scope="module")
def variables():
    shapes = jnp.zeros((1, 2), jnp.int32), jnp.ones((1,), jnp.int32)
    return nn.unbox(jax.jit(MODEL.init)(jax.random.key(0), *shapes))


@jax.jit
def frames(variables, phones, lengths):
    return total_frames(MODEL.apply(variables, phones, lengths), lengths)


def test_starts_at_a_usual_tempo_whatever_the_padding(variables):
    phones = np.random.default_rng(0).integers(0, 8, (2, 30)).astype(np.int32)
    lengths = np.array([30, 10], np.int32)
    found = frames(variables, phones, lengths)
    np.testing.assert_allclose(found, TYPICAL_FRAMES * lengths, rtol=0.2)
    alone = frames(variables, phones[1:, :10], lengths[1:])
    np.testing.assert_allclose(found[1:], alone, rtol=1e-5)


def test_is_a_component_of_bundles(variables, tmp_path):
    with write_bundle(tmp_path / "bundle", license="none", provenance="random weights") as writer:
        writer.add("duration_predictor", TINY, jax.tree.map(np.asarray, variables))
    bundle = Bundle(tmp_path / "bundle")
    assert bundle.names("duration_predictor") == ["duration_predictor"]
    config, again = bundle.load("duration_predictor")
    assert config == TINY
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_learns_durations_of_phones_from_totals(variables):
    truth = np.array([1, 2, 3, 4, 6, 8, 10, 12], np.int32)
    rng = np.random.default_rng(0)
    lengths = rng.integers(4, 20, (100, 16)).astype(np.int32)
    phones = rng.integers(0, 8, (100, 16, 20)).astype(np.int32)
    spoken = np.where(np.arange(20) < lengths[:, :, None], truth[phones], 0).sum(2, dtype=np.int32)
    unknown = np.zeros((100, 16, 21), np.float32)
    batches = {"phones": phones, "phone_lengths": lengths, "phone_bounds": unknown, "lengths": spoken}
    stage = make_trainer("duration_predictor", {"predictor": dataclasses.asdict(TINY)})
    adam = optax.adam(1e-2)

    def loss(params, batch):
        found = stage.loss({"duration_predictor": params}, batch, jax.random.key(0), deterministic=False)
        return found.mean, found.metrics

    def step(carry, batch):
        params, moments = carry
        gradients, metrics = jax.grad(loss, has_aux=True)(params, batch)
        with jax.numpy_dtype_promotion("standard"):  # optax counts steps in integers
            updates, moments = adam.update(gradients, moments)
        return (optax.apply_updates(params, updates), moments), metrics["relative_error"]

    _, errors = jax.jit(lambda params: jax.lax.scan(step, (params, adam.init(params)), batches))(variables)
    assert np.mean(errors[:5]) > 0.2
    assert np.mean(errors[-20:]) < 0.06


def test_bounds_teach_every_phone(variables):
    """The error of phones whose bounds are known: log frames predicted against log frames said."""
    stage = make_trainer("duration_predictor", {"predictor": dataclasses.asdict(TINY)})
    batch = {
        "phones": jnp.array([[3, 4, 5, 0], [3, 4, 0, 0]], jnp.int32),
        "phone_lengths": jnp.array([3, 2], jnp.int32),
        "phone_bounds": jnp.array([[2.0, 4.0, 8.0, 16.0, 0.0], [0.0] * 5]),
        "lengths": jnp.array([16, 9], jnp.int32),
    }
    params = {"duration_predictor": variables}
    found = jax.jit(functools.partial(stage.loss, deterministic=True))(params, batch, jax.random.key(0))
    log_frames = jax.jit(MODEL.apply)(variables, batch["phones"], batch["phone_lengths"])
    expected = np.mean(np.abs(np.asarray(log_frames)[0, :3] - np.log([2.0, 4.0, 8.0])))
    # The row without bounds adds nothing, and counts as a row.
    assert found.metrics["phone_error"] == pytest.approx(expected / 2, rel=1e-4)

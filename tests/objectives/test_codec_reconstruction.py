"""Reconstruction losses: zero at equality, blind to padding, useful gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.objectives.codec_reconstruction import MEL_SCALES, feature_loss, mel_loss

SCALES = MEL_SCALES[:4]


@jax.jit
def loss_of(wave, target, lengths):
    return mel_loss(wave, target, lengths, sample_rate=24000, scales=SCALES)


def waves(seed, samples=600):
    draw = np.random.default_rng(seed)
    return jnp.asarray(draw.normal(size=(2, samples)) * 0.1, jnp.float32)


def test_feature_loss_is_a_mean_over_valid_frames():
    target = jnp.zeros((2, 3, 4))
    features = jnp.stack([jnp.full((3, 4), 1.0), jnp.full((3, 4), 5.0).at[1:].set(1e6)])
    assert float(feature_loss(features, target, jnp.array([3, 1], jnp.int32))) == pytest.approx((3 * 1 + 5) / 4)


def test_mel_loss_measures_level_in_decades():
    wave, lengths = waves(0), jnp.array([600, 600], jnp.int32)
    assert float(loss_of(wave, wave, lengths)) == pytest.approx(0, abs=1e-5)
    # Ten times the level is one decade in every bin that is above the floor: all of them, for noise this loud.
    assert float(loss_of(10 * wave, wave, lengths)) == pytest.approx(len(SCALES), rel=0.01)


@pytest.mark.parametrize("length", [1, 97, 400])
def test_mel_loss_ignores_padding(length):
    wave, target, lengths = waves(1), waves(2), jnp.array([600, length], jnp.int32)
    is_valid = jnp.arange(600)[None] < lengths[:, None]
    dirty = loss_of(jnp.where(is_valid, wave, 9), jnp.where(is_valid, target, -3), lengths)
    assert float(dirty) == pytest.approx(float(loss_of(wave, target, lengths)), rel=1e-6)


def test_mel_loss_pulls_a_wave_to_its_target():
    wave, target, lengths = waves(3), waves(4), jnp.array([600, 500], jnp.int32)
    slope = jax.jit(jax.grad(loss_of))(wave, target, lengths)
    assert np.isfinite(slope).all()
    np.testing.assert_array_equal(slope[1, 500:], 0)
    assert float(loss_of(wave - 1e-2 * slope, target, lengths)) < float(loss_of(wave, target, lengths))


def test_all_published_scales_run_on_a_short_crop():
    value = jax.jit(lambda x, y: mel_loss(x, y, jnp.array([2400, 2400], jnp.int32), sample_rate=24000))(
        waves(5, 2400), waves(6, 2400)
    )
    assert 0 < float(value) < 10 * len(MEL_SCALES)

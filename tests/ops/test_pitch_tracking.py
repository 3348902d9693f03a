"""The tracker hears the pitch that is there; pulses have the pitch, the power and the phases that they should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.ops.pitch import VOICED, pulse_train, track_pitch

RATE, HOP = 24_000, 240
track = jax.jit(track_pitch, static_argnums=(1, 2))
pulses = jax.jit(pulse_train, static_argnums=(2, 3))


def voice(hertz: float, seconds: float = 1.0) -> np.ndarray:
    """Ten harmonics, the higher ones fainter, as of a throat."""
    at = np.arange(round(seconds * RATE)) / RATE
    return sum(np.sin(2 * np.pi * k * hertz * at + k) / k for k in range(1, 11)).astype(np.float32)


@pytest.mark.parametrize("hertz", [75.0, 118.3, 220.0, 431.0])
def test_the_tracker_hears_a_voice_in_noise(hertz):
    noisy = voice(hertz) + 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    heard = track(noisy[None], RATE, HOP)
    assert heard.hertz.shape == (1, RATE // HOP)
    inner = slice(5, -5)
    np.testing.assert_allclose(heard.hertz[0, inner], hertz, rtol=0.02)
    assert np.all(heard.strength[0, inner] > 0.8)


def test_neither_noise_nor_silence_is_voiced():
    noise = np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    heard = track(np.stack([noise, np.zeros_like(noise)]), RATE, HOP)
    assert np.mean(heard.strength[0] > VOICED) < 0.1
    assert not np.any(heard.strength[1])
    assert np.all(np.isfinite(heard.hertz))


def test_a_glide_is_followed_frame_by_frame():
    hertz = np.linspace(100, 200, RATE)
    wave = sum(np.cos(k * 2 * np.pi * np.cumsum(hertz) / RATE) / k for k in range(1, 8)).astype(np.float32)
    heard = track(wave[None], RATE, HOP)
    centres = hertz.reshape(-1, HOP).mean(axis=1)
    np.testing.assert_allclose(heard.hertz[0, 5:-5], centres[5:-5], rtol=0.03)


@pytest.mark.parametrize("rate, hop", [(16_000, 320), (44_100, 441)])
def test_any_rate_will_do(rate, hop):
    wave = np.sin(2 * np.pi * 150 * np.arange(rate // 2) / rate) + np.sin(2 * np.pi * 300 * np.arange(rate // 2) / rate)
    heard = track(wave[None].astype(np.float32), rate, hop)
    assert heard.hertz.shape == (1, -(-len(wave) // hop))
    np.testing.assert_allclose(heard.hertz[0, 5:-5], 150.0, rtol=0.01)


def test_pulses_are_all_harmonics_also_after_minutes():
    frames, period = 100 * 120, 120
    found = np.asarray(pulses(jnp.full((1, frames), RATE / period), jnp.array([frames]), RATE, HOP))[0]
    assert np.mean(np.square(found)) == pytest.approx(1.0, rel=0.05)
    # Every period is as the one before; were all cycles since the beginning counted in float32, it would be noise.
    periods = found[-RATE:].reshape(-1, period)
    assert min(np.corrcoef(one, other)[0, 1] for one, other in zip(periods, periods[1:], strict=False)) > 0.999
    # 57 harmonics of the same size, and nothing between.
    size = np.abs(np.fft.rfft(periods[-1]))
    np.testing.assert_allclose(size[1:58], size[1], rtol=0.01)
    assert np.max(size[[0, 58, 59, 60]]) < 0.02 * size[1]


def test_pulses_do_not_depend_on_padding():
    rng = np.random.default_rng(2)
    hertz = rng.uniform(80, 300, (1, 40)).astype(np.float32)
    alone = pulses(hertz, jnp.array([40]), RATE, HOP)
    padded = pulses(np.pad(hertz, ((0, 0), (0, 24)), constant_values=500), jnp.array([40]), RATE, HOP)
    np.testing.assert_allclose(padded[:, : 40 * HOP], alone, atol=1e-4)
    assert not np.any(padded[:, 40 * HOP :])

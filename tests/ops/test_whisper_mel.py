"""Whisper's log-mel features: equal to the formulas in float64, untouched by padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.ops import whisper_mel

log_mel = jax.jit(whisper_mel.log_mel)


def mel_of(hertz):
    """Slaney's scale: 200/3 Hz a mel up to 1 kHz, then logarithmic."""
    hertz = np.asarray(hertz, np.float64)
    above = 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    return np.where(hertz < 1000, hertz * 3 / 200, above)


def restated(wave):
    """Frame by frame: the wave between its mirrored beginning and zeros."""
    wave = np.concatenate([wave[200:0:-1], wave, np.zeros(200)]).astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    starts = range(0, (len(wave) - 400) // 160 * 160, 160)
    power = np.stack([np.abs(np.fft.rfft(wave[start : start + 400] * window)) ** 2 for start in starts])
    scale = np.interp(np.linspace(0, mel_of(8000), 82), mel_of(np.arange(0, 8001, 0.5)), np.arange(0, 8001, 0.5))
    bins = np.arange(201)[:, None] * 40.0
    rising = (bins - scale[None, :-2]) / (scale[1:-1] - scale[:-2])
    falling = (scale[None, 2:] - bins) / (scale[2:] - scale[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling)) * 2 / (scale[2:] - scale[:-2])
    x = np.log10(np.maximum(power @ filters, 1e-10))
    return (np.maximum(x, x.max() - 8) + 4) / 4


def wave_of(samples, seed):
    """Silence, which is clamped, and then noise that is loudest at the end."""
    draw = np.random.default_rng(seed)
    return (draw.normal(size=samples) * np.linspace(-0.1, 0.3, samples).clip(0) ** 2).astype(np.float32)


@pytest.mark.parametrize("samples", [1600, 3333])
def test_equals_the_formulas(samples):
    wave = wave_of(samples, 0)
    features, lengths = log_mel(jnp.asarray(wave)[None], jnp.array([samples], jnp.int32))
    expected = restated(wave)
    assert expected.shape == (samples // 160, 80) and int(lengths[0]) == samples // 160
    np.testing.assert_allclose(features[0], expected, atol=1e-4)


@pytest.mark.parametrize("seed", [1, 2])
def test_padding_and_neighbours_change_nothing(seed):
    sizes = [4000, 2417, 801]
    batch = np.random.default_rng(seed).normal(size=(3, 4321)).astype(np.float32)  # louder than every wave
    for row, size in enumerate(sizes):
        batch[row, :size] = wave_of(size, seed + row)
    features, lengths = log_mel(jnp.asarray(batch), jnp.array(sizes, jnp.int32))
    for row, size in enumerate(sizes):
        count = size // 160
        assert int(lengths[row]) == count
        np.testing.assert_allclose(features[row, :count], restated(batch[row, :size])[:count], atol=1e-4)
        np.testing.assert_array_equal(features[row, count:], 0)


def test_a_wave_shorter_than_the_mirror_is_refused():
    with pytest.raises(ValueError, match="wave has 200 samples"):
        whisper_mel.log_mel(jnp.zeros((1, 200)), jnp.array([200]))

"""Framing, transforms with "same" padding, mel magnitudes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.ops import stft


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "width", "hop"), [(1000, 400, 160), (64, 16, 4), (16, 16, 4), (15, 16, 4), (50, 7, 3)]
)
def test_frames_are_slices(samples, width, hop):
    x = noise(0, 2, samples)
    frames = stft.frame(jnp.asarray(x), width, hop)
    starts = range(0, samples - width + 1, hop)
    assert frames.shape == (2, len(starts), width)
    for i, start in enumerate(starts):
        np.testing.assert_array_equal(frames[:, i], x[:, start : start + width])


@pytest.mark.parametrize(("width", "hop"), [(16, 4), (12, 5)])
def test_overlap_add_is_the_transpose_of_frame(width, hop):
    frames, x = noise(0, 1, 6, width), noise(1, 1, 5 * hop + width)
    total = stft.overlap_add(jnp.asarray(frames), hop)
    assert total.shape == x.shape
    np.testing.assert_allclose(np.vdot(total, x), np.vdot(frames, stft.frame(jnp.asarray(x), width, hop)), rtol=1e-5)


def test_istft_inverts_stft():
    width, hop, t = 64, 16, 9
    x = noise(2, 2, t * hop)
    window = stft.hann_window(width)
    spectrum = stft.stft(jnp.asarray(x), window, hop)
    assert spectrum.shape == (2, t, width // 2 + 1)
    np.testing.assert_allclose(stft.istft(spectrum, window, hop, jnp.array([t, t])), x, atol=1e-5)


@pytest.mark.parametrize("length", [1, 3, 8])
def test_frames_beyond_a_row_do_not_reach_its_samples(length):
    width, hop = 32, 8
    window = 0.5 + np.random.default_rng(0).uniform(size=width).astype(np.float32)
    spectrum = jnp.asarray(noise(3, 1, 8, 17) + 1j * noise(4, 1, 8, 17))
    alone = stft.istft(spectrum[:, :length], window, hop, jnp.array([length]))
    padded = stft.istft(spectrum, window, hop, jnp.array([length]))
    assert alone.shape == (1, length * hop)
    np.testing.assert_allclose(padded[:, : length * hop], alone, rtol=1e-5, atol=1e-6)


def test_log_mel_finds_the_pitch_and_is_differentiable_at_silence():
    tone = np.sin(2 * np.pi * 3000 * np.arange(4000) / 24000).astype(np.float32)

    def mel(wave):
        return stft.log_mel_magnitude(wave, sample_rate=24000, width=512, mel_bins=40)

    levels = mel(jnp.asarray(tone)[None])
    centres = stft.mel_filters(24000, 512, 40).argmax(0) * 24000 / 512
    assert levels.shape == (1, 32, 40)
    assert abs(centres[int(levels[0, 16].argmax())] - 3000) < 250
    assert np.isfinite(jax.grad(lambda wave: jnp.sum(mel(wave)))(jnp.zeros((1, 1024)))).all()

"""Log-mel features: equal to the stored ones of the SeamlessM4T feature extractor, untouched by padding."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.ops import mel

GOLDEN = Path(__file__).parents[1] / "golden"

log_mel = jax.jit(mel.log_mel)


def alone(wave):
    features, lengths = log_mel(jnp.asarray(wave)[None], jnp.array([len(wave)], jnp.int32))
    return np.asarray(features[0]), int(lengths[0])


@pytest.mark.parametrize("case", ["even", "odd"])
def test_equals_the_feature_extractor(case):
    golden = np.load(GOLDEN / "logmel.npz")
    expected = golden[f"features_{case}"]
    features, length = alone(golden[f"waveform_{case}"])
    assert features.shape == expected.shape
    assert np.linalg.norm(features - expected) < 1e-5 * np.linalg.norm(expected)
    assert length == golden[f"is_valid_{case}"].sum()
    assert int(mel.emitted_lengths(jnp.array([len(golden[f"waveform_{case}"])]))[0]) == len(expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_padding_and_neighbours_change_nothing(seed):
    draw = np.random.default_rng(seed)
    sizes = [4000, 2417, 1200, 400]
    waves = [draw.normal(size=size).astype(np.float32) for size in sizes]
    batch = draw.normal(size=(4, 5001)).astype(np.float32)  # noise, not silence, in the padding
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = wave
    sizes = jnp.array(sizes, jnp.int32)
    features, lengths = log_mel(jnp.asarray(batch), sizes)
    emitted = mel.emitted_lengths(sizes)
    for row, wave in enumerate(waves):
        expected, length = alone(wave)
        assert int(lengths[row]) == length
        assert int(emitted[row]) == len(expected)
        # Over so few frames, dividing by the deviation of a bin magnifies rounding.
        np.testing.assert_allclose(features[row, : len(expected)], expected, atol=1e-3)
        np.testing.assert_array_equal(features[row, len(expected) :], mel.PADDING)


def test_frame_counts():
    samples = jnp.array([0, 399, 400, 559, 560, 719, 720, 16000], jnp.int32)
    np.testing.assert_array_equal(mel.log_mel_frames(samples), [0, 0, 1, 1, 2, 2, 3, 98])
    np.testing.assert_array_equal(mel.attended_lengths(samples), [0, 0, 0, 0, 1, 1, 1, 49])
    np.testing.assert_array_equal(mel.emitted_lengths(samples), [0, 0, 1, 1, 1, 1, 2, 49])


def test_every_bin_is_standardised_over_the_valid_frames():
    wave = np.random.default_rng(2).normal(size=8000).astype(np.float32)
    features, length = alone(wave)
    frames = features[:length].reshape(-1, 80)
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(frames.var(axis=0, ddof=1), 1, atol=1e-4)


def test_a_constant_offset_does_not_matter():
    wave = 0.1 * np.random.default_rng(3).normal(size=4000).astype(np.float32)
    np.testing.assert_allclose(alone(wave)[0], alone(wave + np.float32(0.25))[0], atol=1e-3)


def test_silence_is_finite():
    assert np.all(np.isfinite(alone(np.zeros(4000, np.float32))[0]))


def test_a_wave_below_one_frame_is_refused():
    with pytest.raises(ValueError, match="399 samples"):
        alone(np.zeros(399, np.float32))

import librosa
import numpy as np
import pytest
from synthetic_voice import voice

from metis_jax.data.audio import rms
from metis_jax.data.perturb import PerturbConfig, perturb, reshape_spectrum

RATE = 16_000


def pitch(wave: np.ndarray) -> float:
    return float(np.median(librosa.yin(wave, fmin=60, fmax=500, sr=RATE)))


def centroid(wave: np.ndarray) -> float:
    return float(librosa.feature.spectral_centroid(y=wave, sr=RATE).mean())


def test_length_level_and_seed():
    wave = voice(0, 1.5)
    one, two, other = (perturb(np.random.default_rng(seed), wave, RATE, PerturbConfig()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == wave.shape and one.dtype == np.float32
    assert not np.array_equal(one, other) and not np.array_equal(one, wave)
    assert abs(rms(one) - rms(wave)) < 0.02 * rms(wave)


def test_pitch_moves_by_the_stated_semitones_either_way():
    wave = voice(0, 1.5)
    config = PerturbConfig(pitch_semitones=(4.0, 4.0), formant_ratio=(1.0, 1.0), equalizer_db=0.0)
    moves = [12 * np.log2(pitch(perturb(np.random.default_rng(s), wave, RATE, config)) / pitch(wave)) for s in range(8)]
    np.testing.assert_allclose(np.abs(moves), 4.0, atol=0.4)
    assert min(moves) < 0 < max(moves)


def test_formants_move_and_pitch_stays():
    wave = voice(0, 1.5)
    up, down = (reshape_spectrum(wave, RATE, ratio, np.zeros(4)) for ratio in (1.25, 0.8))
    assert centroid(down) < 0.95 * centroid(wave) and centroid(up) > 1.05 * centroid(wave)
    assert abs(pitch(up) - pitch(wave)) < 2 and abs(pitch(down) - pitch(wave)) < 2


def test_probability_and_bad_ranges():
    wave = voice(1, 0.2)
    config = PerturbConfig(probability=0.3, pitch_semitones=(0.0, 0.0))
    touched = [perturb(np.random.default_rng(seed), wave, RATE, config) is not wave for seed in range(200)]
    assert abs(np.mean(touched) - 0.3) < 0.1
    with pytest.raises(ValueError, match="perturb.formant_ratio"):
        PerturbConfig(formant_ratio=(0.5, 1.2))

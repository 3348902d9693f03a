"""Signal measures on waves whose right answer is known."""

import numpy as np
import pytest

from metis_jax.evaluation import signals
from metis_jax.evaluation.errors import Unmeasurable

RATE = 16_000


def _voice(seconds: float = 2.0, pitch: float = 120.0, seed: int = 0) -> np.ndarray:
    """Harmonics under a syllable-like envelope, with a little noise: speech enough for every measure."""
    t = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.cos(2 * np.pi * pitch * k * t + k) / k for k in range(1, 20))
    noise = np.random.default_rng(seed).normal(size=len(t))
    return (0.05 * (wave + 0.05 * noise) * (1.1 + np.sin(2 * np.pi * 3 * t))).astype(np.float32)


@pytest.mark.parametrize("decibels", [-5.0, 0.0, 20.0])
def test_si_sdr_of_a_known_ratio_whatever_the_gain(decibels):
    rng = np.random.default_rng(0)
    clean = rng.normal(size=RATE)
    noise = rng.normal(size=RATE)
    clean, noise = clean - clean.mean(), noise - noise.mean()
    noise -= np.dot(noise, clean) / np.dot(clean, clean) * clean  # orthogonal, so that the ratio is exact
    noise *= np.linalg.norm(clean) / np.linalg.norm(noise) * 10 ** (-decibels / 20)
    assert signals.si_sdr(clean, 3.0 * (clean + noise) + 0.5) == pytest.approx(decibels, abs=1e-6)


def test_si_sdr_of_equal_and_of_silent_waves():
    wave = _voice()
    assert signals.si_sdr(wave, wave) == signals.LARGEST_RATIO_DB
    with pytest.raises(Unmeasurable, match="silent"):
        signals.si_sdr(wave, np.zeros_like(wave))


def test_mel_distance_is_zero_for_itself_and_the_gain_in_decibels():
    wave = _voice()
    assert signals.mel_distance(wave, wave, RATE) == 0
    assert signals.mel_distance(wave, wave * np.float32(0.5), RATE) == pytest.approx(20 * np.log10(2), abs=0.01)


def test_aligned_cuts_small_differences_and_refuses_large_ones():
    wave = _voice()
    cut, same = signals.aligned(wave, wave[:-500], RATE)
    assert len(cut) == len(same) == len(wave) - 500
    with pytest.raises(Unmeasurable, match=r"2\.00 s and 1\.00 s"):
        signals.aligned(wave, wave[:RATE], RATE)
    with pytest.raises(Unmeasurable, match="shorter than"):
        signals.aligned(wave[:4000], wave[:4000], RATE)


def test_f0_error_is_the_interval_between_two_voices():
    low, high = _voice(1.0, 120.0), _voice(1.0, 120.0 * 2 ** (3 / 12))
    assert signals.f0_error(low, high, RATE) == pytest.approx(3.0, abs=0.15)
    with pytest.raises(Unmeasurable, match="voiced"):
        signals.f0_error(low, np.random.default_rng(0).normal(size=RATE).astype(np.float32), RATE)


def test_duration_error_is_relative_to_the_reference():
    assert signals.duration_error(np.zeros(200), np.zeros(150)) == pytest.approx(0.25)
    assert signals.duration_error(np.zeros(200), np.zeros(250)) == pytest.approx(0.25)


@pytest.mark.extra("eval", "pystoi", "pesq")
@pytest.mark.parametrize("name", ["stoi", "pesq"])
def test_packaged_measures_fall_with_noise(name):
    measure = getattr(signals, name)
    clean = _voice(3.0)
    noise = np.random.default_rng(1).normal(size=len(clean)).astype(np.float32)
    best = measure(clean, clean, RATE)
    assert best > {"stoi": 0.99, "pesq": 4.5}[name]
    assert measure(clean, clean + np.float32(0.05) * noise, RATE) < 0.9 * best


@pytest.mark.extra("eval", "pystoi")
def test_stoi_of_almost_nothing_is_refused():
    wave = np.zeros(RATE, np.float32)
    wave[:2000] = _voice()[:2000]
    with pytest.raises(Unmeasurable, match="too little speech"):
        signals.stoi(wave, wave, RATE)

import numpy as np
import pytest
from synthetic_voice import voice

from metis_jax.audio.voice import match_pitch, median_pitch
from metis_jax.audio.waves import rms

RATE = 16_000


def known_pitch(seed: int) -> float:
    """What `voice` draws first."""
    return np.random.default_rng(seed).uniform(90, 250)


@pytest.mark.parametrize("seed", range(4))
def test_the_pitch_of_a_voice_is_heard(seed):
    assert median_pitch(voice(seed, 1.5), RATE) == pytest.approx(known_pitch(seed), rel=0.03)


def test_a_voice_moves_to_the_pitch_of_another_and_back():
    low, high = sorted((voice(seed, 1.5) for seed in (1, 2)), key=lambda wave: median_pitch(wave, RATE))
    for wave, goal in ((low, high), (high, low)):
        moved = match_pitch(wave, goal, RATE)
        assert moved.shape == wave.shape and moved.dtype == np.float32
        assert median_pitch(moved, RATE) == pytest.approx(median_pitch(goal, RATE), rel=0.04)
        assert rms(moved) == pytest.approx(rms(wave), rel=0.02)


@pytest.mark.parametrize("silence", [np.zeros(0, np.float32), np.zeros(RATE, np.float32)], ids=["empty", "silent"])
def test_silence_has_no_pitch_and_moves_nothing(silence):
    wave = voice(0, 1.0)
    assert median_pitch(silence, RATE) == 0
    np.testing.assert_array_equal(match_pitch(wave, silence, RATE), wave)
    np.testing.assert_array_equal(match_pitch(silence, wave, RATE), silence)

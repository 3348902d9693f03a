import numpy as np
import pytest
from synthetic_voice import voice

from metis_jax.audio.waves import rms
from metis_jax.data.effects.mixtures import MixtureConfig, mixed_voices, speech_level


def decibels(level: float) -> float:
    return 20 * np.log10(level)


def test_voices_come_at_the_stated_loudness_place_and_share():
    target = voice(0, 1.0)
    other = (0.2 * np.random.default_rng(0).standard_normal(20_000)).astype(np.float32)
    config = MixtureConfig(loudness_db=(-33.0, -25.0), overlap=(0.5, 0.9))
    loudness, shares, starts = [], [], []
    for seed in range(300):
        own, added = mixed_voices(np.random.default_rng(seed), target, [other], config)
        np.testing.assert_allclose(own / rms(own), target / rms(target), atol=1e-4)
        places = np.flatnonzero(added)
        span = added[places[0] : places[-1] + 1]
        loudness.append((decibels(speech_level(own)), decibels(rms(span))))
        shares.append(len(span) / len(target))
        starts.append(places[0])
    assert np.abs(np.min(loudness, axis=0) + 33).max() < 0.3 and np.abs(np.max(loudness, axis=0) + 25).max() < 0.3
    assert abs(np.corrcoef(np.transpose(loudness))[0, 1]) < 0.15  # each voice has its own
    assert 0.49 < min(shares) < 0.53 and 0.87 < max(shares) < 0.91
    assert min(starts) < 400 and max(starts) > 5000


@pytest.mark.parametrize("pause", [0.0, 1.0, 4.0])
def test_a_voice_is_as_loud_where_it_speaks_whatever_its_pauses(pause):
    speech = voice(1, 1.0)
    paused = np.concatenate([speech, 1e-4 * np.ones(int(16_000 * pause), np.float32), speech])
    assert abs(decibels(speech_level(paused)) - decibels(speech_level(speech))) < 0.7
    config = MixtureConfig(loudness_db=(-30.0, -30.0), overlap=(1.0, 1.0))
    one, other = mixed_voices(np.random.default_rng(0), paused, [speech], config)
    assert decibels(rms(one[:16_000])) == pytest.approx(decibels(rms(other[other != 0])), abs=0.7)


def test_number_of_interferers_is_uniform():
    config = MixtureConfig(interferers=(1, 3))
    counts = np.bincount([config.count(np.random.default_rng(seed)) for seed in range(600)], minlength=4)
    assert counts[0] == 0 and np.abs(counts[1:] - 200).max() < 40


def test_a_silent_or_short_interferer_does_no_harm():
    target = voice(0, 0.5)
    silent, short = (
        mixed_voices(np.random.default_rng(0), target, [other], MixtureConfig())[1]
        for other in (np.zeros(99, np.float32), voice(1, 0.01))
    )
    assert not silent.any() and np.isfinite(short).all() and np.count_nonzero(short) > 100


def test_bad_ranges_are_named():
    with pytest.raises(ValueError, match="mixture.overlap"):
        MixtureConfig(overlap=(0.5, 1.5))
    with pytest.raises(ValueError, match="mixture.loudness_db"):
        MixtureConfig(loudness_db=(-20.0, 3.0))

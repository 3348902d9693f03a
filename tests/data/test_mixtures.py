import numpy as np
import pytest
from synthetic_voice import voice

from metis_jax.data.audio import rms
from metis_jax.data.mixtures import MixtureConfig, mix


def test_interferers_come_at_the_stated_level_place_and_share():
    target = voice(0, 1.0)
    other = (0.2 * np.random.default_rng(0).standard_normal(20_000)).astype(np.float32)
    config = MixtureConfig(sir_db=(-5.0, 5.0), overlap=(0.5, 0.9))
    ratios, shares, starts = [], [], []
    for seed in range(300):
        mixture = mix(np.random.default_rng(seed), target, [other], config)
        assert mixture.shape == target.shape
        added = mixture - target
        places = np.flatnonzero(np.abs(added) > 1e-6)
        span = added[places[0] : places[-1] + 1]
        ratios.append(20 * np.log10(rms(target) / rms(span)))
        shares.append(len(span) / len(target))
        starts.append(places[0])
    assert -5.1 < min(ratios) < -4.5 and 4.5 < max(ratios) < 5.1 and abs(np.mean(ratios)) < 0.6
    assert 0.49 < min(shares) < 0.53 and 0.87 < max(shares) < 0.91
    assert min(starts) < 400 and max(starts) > 5000


def test_number_of_interferers_is_uniform():
    config = MixtureConfig(interferers=(1, 3))
    counts = np.bincount([config.count(np.random.default_rng(seed)) for seed in range(600)], minlength=4)
    assert counts[0] == 0 and np.abs(counts[1:] - 200).max() < 40


def test_a_silent_or_short_interferer_does_no_harm():
    target = voice(0, 0.5)
    config = MixtureConfig()
    np.testing.assert_array_equal(mix(np.random.default_rng(0), target, [np.zeros(99, np.float32)], config), target)
    assert np.isfinite(mix(np.random.default_rng(0), target, [voice(1, 0.05)], config)).all()


def test_bad_ranges_are_named():
    with pytest.raises(ValueError, match="mixture.overlap"):
        MixtureConfig(overlap=(0.5, 1.5))

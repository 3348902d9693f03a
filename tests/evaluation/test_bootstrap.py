"""Bootstrap intervals: they cover the truth as often as they say, and depend on nothing but the seed."""

import numpy as np
import pytest

from metis_jax.evaluation.bootstrap import estimate


def test_intervals_cover_the_true_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        result = estimate(rng.normal(3.0, 1.0, size=40), np.ones(40), seed=trial, resamples=400)
        covered += result.low <= 3.0 <= result.high
    assert 0.89 <= covered / 300 <= 0.98


def test_weights_pool_error_rates():
    result = estimate(np.array([1.0, 0.0]), np.array([1.0, 9.0]), seed=0)
    assert result.mean == pytest.approx(0.1)
    assert (result.low, result.high) == (0.0, 1.0)


def test_same_seed_same_interval_and_other_seed_other():
    values, weights = np.random.default_rng(1).normal(size=25), np.ones(25)
    assert estimate(values, weights, seed=3) == estimate(values, weights, seed=3)
    assert estimate(values, weights, seed=3) != estimate(values, weights, seed=4)


def test_one_file_has_no_interval_and_none_is_an_error():
    assert estimate(np.array([2.0]), np.ones(1), seed=0).low is None
    with pytest.raises(ValueError, match="empty"):
        estimate(np.array([]), np.array([]), seed=0)

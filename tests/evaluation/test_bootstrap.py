"""Bootstrap intervals: they cover the truth as often as they say, and depend on nothing but the seed."""

import numpy as np
import pytest

from metis_jax.evaluation.bootstrap import difference, estimate, holm


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


def test_pairs_show_a_difference_that_two_intervals_hide():
    rng = np.random.default_rng(0)
    hard = rng.normal(3.0, 2.0, size=30)
    values = np.stack([hard, hard + rng.normal(0.2, 0.1, size=30)])
    apart = [estimate(one, np.ones(30), seed=0) for one in values]
    assert apart[0].high > apart[1].low
    gap, p = difference(values, np.ones_like(values), seed=0)
    assert 0 < gap.low < gap.mean < gap.high
    assert gap.mean == pytest.approx(apart[1].mean - apart[0].mean)
    assert p < 0.01


def test_equal_systems_do_not_differ():
    values = np.tile(np.arange(5.0), (2, 1))
    gap, p = difference(values, np.ones_like(values), seed=0)
    assert (gap.mean, gap.low, gap.high, p) == (0, 0, 0, 1)
    alone, p = difference(np.array([[1.0], [2.0]]), np.ones((2, 1)), seed=0)
    assert (alone.mean, alone.low, p) == (1, None, 1)


def test_three_files_prove_little():
    gap, p = difference(np.array([[0.0, 0.0, 0.0], [1.0, 1.1, 1.2]]), np.ones((2, 3)), seed=0)
    assert gap.low > 0
    assert p == pytest.approx(2 / 2**3, abs=0.03)


def test_a_difference_of_pooled_rates_weighs_words():
    gap, _ = difference(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 9.0], [1.0, 9.0]]), seed=0)
    assert gap.mean == pytest.approx(0.9 - 0.1)


def test_holm_corrects_as_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []

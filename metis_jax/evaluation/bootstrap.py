"""Percentile bootstrap intervals of weighted means (Efron 1979): files are drawn again with replacement.

Of two systems that were measured on the same files, the differences are drawn: files that are hard for both then do
not widen the interval.  Whether they differ at all is a permutation test, since intervals of few files are too narrow.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

_RESAMPLES = 2000
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of two, and its interval; one file alone has none."""

    mean: float | None
    low: float | None
    high: float | None


def estimate(
    values: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"],
    *,
    seed: int,
    resamples: int = _RESAMPLES,
) -> Estimate:
    """The weighted mean and its interval.

    Weights make a mean of per-file error rates the pooled rate: weighted by words, it is all edits over all words.
    """
    if not len(values):
        raise ValueError("values is empty; an estimate needs at least one")
    mean = float(np.average(values, weights=weights))
    if len(values) == 1:
        return Estimate(mean, None, None)
    return Estimate(mean, *_interval(_means(values, weights, _draws(len(values), seed, resamples))))


def difference(
    values: Float[np.ndarray, "2 n"], weights: Float[np.ndarray, "2 n"], *, seed: int
) -> tuple[Estimate, float]:
    """The second weighted mean minus the first over the same n files, with its interval, and p.

    p is how often a difference at least as large, of either sign, comes about where each file's two results are swapped
    at random; so of n files it is never much below 2 / 2^n.
    """
    first, second = np.average(values, axis=1, weights=weights).tolist()
    gap, count = second - first, values.shape[1]
    is_swapped = np.random.default_rng(seed).integers(2, size=(_RESAMPLES, count)).astype(bool)
    sums, totals = values * weights, weights
    swapped = [
        np.where(is_swapped, sums[1 - i], sums[i]).sum(axis=1)
        / np.where(is_swapped, totals[1 - i], totals[i]).sum(axis=1)
        for i in (0, 1)
    ]
    is_as_large = np.abs(swapped[1] - swapped[0]) >= abs(gap) * (1 - 1e-9)  # equal but for rounding
    # One is added above and below, since no number of draws shows that a chance is zero.
    p = float((1 + np.sum(is_as_large)) / (1 + _RESAMPLES))
    if count == 1:
        return Estimate(gap, None, None), p
    draws = _draws(count, seed, _RESAMPLES)
    drawn = _means(values[1], weights[1], draws) - _means(values[0], weights[0], draws)
    return Estimate(gap, *_interval(drawn)), p


def holm(chances: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979), in the order given."""
    order = np.argsort(chances, kind="stable")
    corrected = np.empty(len(order))
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(chances)[order] * factors))
    return corrected.tolist()


def _draws(count: int, seed: int, resamples: int) -> Int[np.ndarray, "r n"]:
    return np.random.default_rng(seed).integers(count, size=(resamples, count))


def _means(
    values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"], draws: Int[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    return np.sum(values[draws] * weights[draws], axis=1) / np.sum(weights[draws], axis=1)


def _interval(means: Float[np.ndarray, " r"]) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(low), float(high)

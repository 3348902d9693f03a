"""Percentile bootstrap intervals of weighted means (Efron 1979): files are drawn again with replacement."""

import dataclasses

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean and its interval; one file alone has none."""

    mean: float | None
    low: float | None
    high: float | None


def estimate(
    values: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"],
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Estimate:
    """The weighted mean and its interval.

    Weights make a mean of per-file error rates the pooled rate: weighted by words, it is all edits over all words.
    """
    if not len(values):
        raise ValueError("values is empty; an estimate needs at least one")
    mean = float(np.average(values, weights=weights))
    if len(values) == 1:
        return Estimate(mean, None, None)
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means = np.sum(values[draws] * weights[draws], axis=1) / np.sum(weights[draws], axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(mean, float(low), float(high))

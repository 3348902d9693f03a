"""Two systems on the same files: by how much their means differ, and on how many files which is better."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from metis_jax.evaluation.bootstrap import Estimate, difference, holm
from metis_jax.evaluation.measure import Measure, Value

Files = Mapping[str, Mapping[str, Value]]  # values by file and measure


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One measure of two systems.

    Attributes:
      difference: the second's mean minus the first's, over the files that were measured of both.
      p: two-sided, after Holm's correction for all comparisons of the table.
      better: share of those files on which the second is better; `worse` likewise, and the rest are equal.
      count: those files.
    """

    first: str
    second: str
    measure: Measure
    difference: Estimate
    p: float
    better: float
    worse: float
    count: int


def compare(
    measures: Sequence[Measure], systems: Mapping[str, Files], pairs: Iterable[tuple[str, str]], *, seed: int
) -> list[Comparison]:
    """Every measure that has a better side, of every pair of systems that share files."""
    found = []
    for first, second in pairs:
        for measure in measures:
            one = _compared(first, second, measure, systems, seed) if measure.better else None
            found += [one] if one else []
    corrected = holm([one.p for one in found])
    return [dataclasses.replace(one, p=p) for one, p in zip(found, corrected, strict=True)]


def _compared(first: str, second: str, measure: Measure, systems: Mapping[str, Files], seed: int) -> Comparison | None:
    shared = [name for name in systems[first] if name in systems[second]]
    both = [(systems[first][name][measure.key], systems[second][name][measure.key]) for name in shared]
    both = [values for values in both if None not in (values[0].value, values[1].value)]
    if not both:
        return None
    values = np.array([[one.value for one in side] for side in zip(*both, strict=True)], np.float64)
    weights = np.array([[one.weight for one in side] for side in zip(*both, strict=True)], np.float64)
    gap, p = difference(values, weights, seed=seed)
    gain = (values[1] - values[0]) * (1 if measure.better == "higher" else -1)
    better, worse = float(np.mean(gain > 0)), float(np.mean(gain < 0))
    return Comparison(first, second, measure, gap, p, better, worse, len(both))

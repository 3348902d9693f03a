"""Means over seeds and files with their intervals, and pairs of arms, for the tables of a report.

Seeds and files are crossed: every seed was measured on every file.  A bootstrap draws both anew (Owen 2007, the
pigeonhole bootstrap), so that an interval says what other seeds and other files would have given.  Of two arms p is by
permutation over files, whose values are averaged over the seeds first.  Where there is one value a seed, as of losses,
seeds are too few to be drawn or swapped: interval and p are Student's, of paired seeds.  Holm's correction is for all
comparisons of a study.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import scipy.stats
from jaxtyping import Float

from metis_jax.evaluation.bootstrap import Estimate, holm
from metis_jax.evaluation.comparison import Comparison, compare
from metis_jax.evaluation.measure import Measure, Value
from nano.studies.plan import Study
from nano.studies.results import Result

_RESAMPLES = 2000
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Grid:
    """One measure of one arm: its values and their weights, of every seed and every file that all seeds have."""

    seeds: tuple[int | None, ...]
    files: tuple[str, ...]
    values: Float[np.ndarray, "s f"]
    weights: Float[np.ndarray, "s f"]

    @classmethod
    def of(cls, results: Iterable[Result]) -> "Grid":
        """Of results of one arm, task and measure; of several steps the last one counts.

        ValueError where the seeds share no file.
        """
        last: dict[tuple[int | None, str], Result] = {}
        for result in sorted(results, key=lambda result: (result.step, result.seed or 0)):
            last[result.seed, result.file] = result
        seeds = list(dict.fromkeys(seed for seed, _ in last))
        files = [file for file in sorted({file for _, file in last}) if all((seed, file) in last for seed in seeds)]
        if not files:
            raise ValueError(f"seeds {seeds} share no file")
        rows = [[last[seed, file] for file in files] for seed in seeds]
        values, weights = (
            np.array([[getattr(result, field) for result in row] for row in rows], np.float64)
            for field in ("value", "weight")
        )
        return cls(tuple(seeds), tuple(files), values, weights)

    def shared(self, other: "Grid") -> "Grid":
        """The seeds and files that another one has too; all seeds if either is of recordings, which have none."""
        has_seeds = None not in (*self.seeds, *other.seeds)
        seeds = [seed for seed in self.seeds if seed in other.seeds or not has_seeds]
        files = [file for file in self.files if file in other.files]
        place = np.ix_([self.seeds.index(seed) for seed in seeds], [self.files.index(file) for file in files])
        return Grid(tuple(seeds), tuple(files), self.values[place], self.weights[place])

    def units(self) -> dict[str, Value]:
        """What is swapped to see whether arms differ: files, averaged over seeds; of one file, seeds."""
        if len(self.files) > 1:
            totals = self.weights.mean(axis=0)
            values = np.average(self.values, axis=0, weights=self.weights)
            return {
                file: Value(*pair) for file, *pair in zip(self.files, values.tolist(), totals.tolist(), strict=True)
            }
        return {str(seed): Value(value) for seed, value in zip(self.seeds, self.values[:, 0].tolist(), strict=True)}


def estimate(grid: Grid) -> Estimate:
    """The mean and its interval; one value alone has none."""
    return _estimate([grid], [1.0])


def _estimate(grids: Sequence[Grid], signs: Sequence[float]) -> Estimate:
    """The sum of the means, each with its sign.  Grids have the same files, and the same seeds if equally many."""
    rng = np.random.default_rng(0)
    mean = sum(sign * np.average(grid.values, weights=grid.weights) for sign, grid in zip(signs, grids, strict=True))
    if all(grid.values.size == 1 for grid in grids):
        return Estimate(float(mean), None, None)
    if _are_by_seed(grids):
        values = sum(sign * grid.values[:, 0] for sign, grid in zip(signs, grids, strict=True))
        spread = scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1) * scipy.stats.sem(values)
        return Estimate(float(mean), float(mean - spread), float(mean + spread))
    drawn = np.zeros(_RESAMPLES)
    files = _times(rng, len(grids[0].files))
    seeds = {size: _times(rng, size) for size in dict.fromkeys(len(grid.seeds) for grid in grids)}
    for sign, grid in zip(signs, grids, strict=True):
        sums, weights = (
            np.einsum("rs,sf,rf->r", seeds[len(grid.seeds)], values, files)
            for values in (grid.values * grid.weights, grid.weights)
        )
        drawn += sign * sums / weights
    low, high = np.quantile(drawn, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Estimate(float(mean), float(low), float(high))


def _are_by_seed(grids: Sequence[Grid]) -> bool:
    """Whether there is one value of each of the same seeds."""
    return all(len(grid.files) == 1 and 1 < len(grid.seeds) == len(grids[0].seeds) for grid in grids)


def _times(rng: np.random.Generator, count: int) -> Float[np.ndarray, "r n"]:
    """How often each of `count` is drawn, in every resample."""
    return rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES).astype(np.float64)


Cells = Mapping[tuple[str, str], Mapping[str, Grid]]  # {(task, arm): {measure: Grid}}


def cells(results: Iterable[Result]) -> Cells:
    """The grids of all tasks and arms."""
    groups: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for result in results:
        groups.setdefault((result.task, result.arm), {}).setdefault(result.measure, []).append(result)
    return {place: {measure: Grid.of(group) for measure, group in own.items()} for place, own in groups.items()}


def grouped(study: Study, results: Iterable[Result]) -> Iterator[Result]:
    """The results, and those of a study's groups of files once more as of sets of their own."""
    for result in results:
        yield result
        for group, beginning in study.groups.get(result.task, {}).items():
            if result.file.startswith(beginning):
                yield dataclasses.replace(result, task=f"{result.task} of {group}")


@dataclasses.dataclass(frozen=True)
class Compared:
    """A comparison of two arms in a task, its interval over seeds and files.

    `is_by_seed`: p is Student's, of seeds; else of files that are swapped.
    """

    task: str
    found: Comparison
    is_by_seed: bool


def comparisons(found: Cells, pairs: Iterable[tuple[str, str]], measures: Sequence[Measure]) -> list[Compared]:
    """Every measure with a better side, of every pair in every task that both were measured in; p after Holm."""
    compared = []
    for task, (first, second), measure in itertools.product(
        dict.fromkeys(task for task, _ in found), pairs, [measure for measure in measures if measure.better]
    ):
        grids = [found.get((task, arm), {}).get(measure.key) for arm in (first, second)]
        if None in grids:
            continue
        grids = [grids[0].shared(grids[1]), grids[1].shared(grids[0])]
        if not all(grid.values.size for grid in grids):
            continue
        systems = {
            arm: {unit: {measure.key: value} for unit, value in grid.units().items()}
            for arm, grid in zip((first, second), grids, strict=True)
        }
        is_by_seed = _are_by_seed(grids)
        for one in compare([measure], systems, [(first, second)], seed=0):
            one = dataclasses.replace(one, difference=_estimate(grids, (-1.0, 1.0)))
            if is_by_seed and np.ptp(grids[1].values - grids[0].values):
                one = dataclasses.replace(
                    one, p=float(scipy.stats.ttest_rel(*(grid.values[:, 0] for grid in grids))[1])
                )
            compared.append(Compared(task, one, is_by_seed))
    corrected = holm([one.found.p for one in compared])
    return [
        dataclasses.replace(one, found=dataclasses.replace(one.found, p=p))
        for one, p in zip(compared, corrected, strict=True)
    ]

"""How the loss falls with parameters and data: a law fitted to runs, with intervals, and what it says of budgets.

The law is that of arXiv 2203.15556 (section 3.3): loss = E + A / N^alpha + B / D^beta, for N parameters and D tokens,
fitted by a Huber loss of log losses.  Arithmetic is taken as 6 N D.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from metis_jax.files.inputs import parse_json, read_json
from metis_jax.files.text_files import read_lines
from metis_jax.scaling.sweep import RUN_FILE

_HUBER = 1e-3
# Of E a share of the lowest loss; logarithms of A and B; both exponents.
_STARTS = tuple(itertools.product((0.5, 0.9), (2.0, 8.0), (2.0, 8.0), (0.3, 0.5)))
# Of logarithms of E, A and B, and of both exponents.  Runs that say nothing of one would else give a law without
# a best size, or numbers beyond all bounds.
_LEAST, _MOST = (-20.0,) * 3 + (1e-3,) * 2, (np.inf,) * 3 + (3.0,) * 2
FEWEST_RUNS = 6  # of five numbers
_WIDEST = 3.0


@dataclasses.dataclass(frozen=True)
class Point:
    """A run that has ended: its parameters, the tokens that it saw, and its loss on held-out data in nats."""

    name: str
    parameters: int
    tokens: int
    loss: float


@dataclasses.dataclass(frozen=True)
class Law:
    """loss = e + a / N^alpha + b / D^beta."""

    e: float
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: int | float, tokens: int | float) -> float:
        """In nats."""
        return self.e + self.a * parameters**-self.alpha + self.b * tokens**-self.beta

    def best(self, flops: int | float) -> tuple[float, float]:
        """(parameters, tokens) of the lowest loss for so much arithmetic."""
        ratio = self.alpha * self.a / (self.beta * self.b)
        parameters = (ratio * (flops / 6) ** self.beta) ** (1 / (self.alpha + self.beta))
        return parameters, flops / 6 / parameters


def read_runs(folder: Path) -> tuple[list[Point], list[str]]:
    """The runs of a sweep that have ended, and the names of the others.

    ValueError where one is damaged or has no finite loss, or they are too few.
    """
    points, unfinished = [], []
    for file in sorted(folder.glob(f"*/{RUN_FILE}")):
        name, metrics = file.parent.name, file.parent / "metrics.jsonl"
        try:
            run, losses = read_json(file), _held_out(metrics)
            if max(losses, default=0) < run["steps"]:
                unfinished.append(name)
                continue
            points.append(Point(name, run["parameters"], run["tokens"], losses[max(losses)]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{file.parent}: no run of a sweep ({error}); remove the folder") from error
        if not math.isfinite(points[-1].loss):
            raise ValueError(f"{metrics}: the loss is {points[-1].loss}; remove the folder to fit without this run")
    if len(points) < FEWEST_RUNS:
        raise ValueError(f"{folder}: {len(points)} runs have ended; a law of five numbers wants {FEWEST_RUNS} or more")
    for what in ("parameters", "tokens"):
        if len({getattr(point, what) for point in points}) < 2:
            raise ValueError(f"{folder}: all runs have the same {what}; a sweep wants several sizes and budgets")
    return points, unfinished


def _held_out(metrics: Path) -> dict[int, float]:
    """{step: loss} of the validation lines."""
    found = {}
    if metrics.is_file():
        for line in filter(str.strip, read_lines(metrics)):
            row = parse_json(line, str(metrics), finite=False)
            if row.get("split") == "validation":
                found[int(row["step"])] = float(row["loss"])
    return found


def fit_law(points: Sequence[Point], near: Law | None = None) -> Law:
    """The law nearest to the runs: the best of several starts, for there are several valleys, or of `near` alone."""
    n, d, loss = (np.log([getattr(p, name) for p in points]) for name in ("parameters", "tokens", "loss"))

    def errors(x: Float[np.ndarray, " 5"]) -> Float[np.ndarray, " _"]:
        return np.logaddexp.reduce(_log_terms(x, n, d)) - loss

    def slopes(x: Float[np.ndarray, " 5"]) -> Float[np.ndarray, "_ 5"]:
        terms = _log_terms(x, n, d)
        e, a, b = np.exp(terms - np.logaddexp.reduce(terms))
        return np.stack([e, a, b, -a * n, -b * d], axis=1)

    starts = [(loss.min() + math.log(share), a, b, power, power) for share, a, b, power in _STARTS]
    if near is not None:
        starts = [(*np.log((near.e, near.a, near.b)), near.alpha, near.beta)]
    rules = {"jac": slopes, "bounds": (_LEAST, _MOST), "loss": "huber", "f_scale": _HUBER}
    found = [least_squares(errors, np.clip(start, _LEAST, _MOST), **rules) for start in starts]
    e, a, b, alpha, beta = min(found, key=lambda result: result.cost).x
    return Law(*(float(value) for value in (np.exp(e), np.exp(a), np.exp(b), alpha, beta)))


def _log_terms(
    x: Float[np.ndarray, " 5"], n: Float[np.ndarray, " _"], d: Float[np.ndarray, " _"]
) -> Float[np.ndarray, "3 _"]:
    """Logarithms of E, A / N^alpha and B / D^beta."""
    e, a, b, alpha, beta = x
    return np.stack([np.broadcast_to(e, n.shape), a - alpha * n, b - beta * d])


def bootstrap(points: Sequence[Point], law: Law, draws: int, seed: int) -> list[Law]:
    """Laws near `law` of runs drawn with replacement; draws of fewer than five different runs are drawn again."""
    rng, laws = np.random.default_rng(seed), []
    while len(laws) < draws:
        chosen = rng.integers(len(points), size=len(points))
        if len(set(chosen.tolist())) >= FEWEST_RUNS - 1:
            laws.append(fit_law([points[place] for place in chosen], law))
    return laws


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The middle 95% of bootstrapped values."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def is_outside(value: int | float, known: Sequence[int | float]) -> bool:
    """Whether a value lies outside of those that were run."""
    return not min(known) <= value <= max(known)


def extrapolated(points: Sequence[Point], law: Law, flops: int | float) -> str:
    """Of what was run nothing like it, where the best of a budget is an extrapolation; else empty."""
    if is_outside(flops, [6 * point.parameters * point.tokens for point in points]):
        return "budget"
    return "size" if is_outside(law.best(flops)[0], [point.parameters for point in points]) else ""


def is_identified(low: float, high: float) -> bool:
    """Whether an exponent's interval says anything: it is positive, and wide by a factor of `_WIDEST` at most."""
    return 0 < low and high <= _WIDEST * low

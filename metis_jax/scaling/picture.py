"""Losses of a sweep and the law fitted to them, drawn."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from metis_jax.scaling.fit import Law, Point, is_outside


def draw_law(points: Sequence[Point], law: Law, path: str | os.PathLike) -> None:
    """Loss over arithmetic: a line for every size, a cross for every run, and the best among such sizes."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for parameters in sorted({point.parameters for point in points}):
        own = [point for point in points if point.parameters == parameters]
        tokens = np.geomspace(min(p.tokens for p in own) / 1.5, max(p.tokens for p in own) * 1.5, 50)
        losses = [law.loss(parameters, float(d)) for d in tokens]
        (line,) = axes.plot(6 * parameters * tokens, losses, label=f"{parameters / 1e6:.2f}M parameters")
        axes.plot([6 * parameters * p.tokens for p in own], [p.loss for p in own], "x", color=line.get_color())
    budgets = np.geomspace(*(f(6 * p.parameters * p.tokens for p in points) for f in (min, max)), 50)
    known = [float(c) for c in budgets if not is_outside(law.best(float(c))[0], [p.parameters for p in points])]
    if known:
        axes.plot(known, [law.loss(*law.best(c)) for c in known], "k--", label="best size")
    axes.set(xscale="log", xlabel="arithmetic, FLOP (6 N D)", ylabel="held-out loss, nats")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda c, _: f"{c:.0e}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)

"""A law is found again from losses that follow it, and runs from the folders that a sweep leaves."""

import dataclasses
import json

import numpy as np
import pytest

from metis_jax.scaling.fit import Law, Point, bootstrap, extrapolated, fit_law, interval, is_identified, read_runs

LAW = Law(e=3.0, a=40.0, b=300.0, alpha=0.35, beta=0.4)
SIZES, TOKENS = (300_000, 1_000_000, 3_000_000, 10_000_000), (1_000_000, 5_000_000, 20_000_000)


def points(noise=0.0):
    rng = np.random.default_rng(0)
    return [
        Point(f"{n:g}_{d:g}", n, d, LAW.loss(n, d) * float(np.exp(noise * rng.standard_normal())))
        for n in SIZES
        for d in TOKENS
    ]


def test_the_law_is_found_again():
    found = fit_law(points())
    np.testing.assert_allclose([found.e, found.alpha, found.beta], [LAW.e, LAW.alpha, LAW.beta], rtol=0.02)
    np.testing.assert_allclose(found.best(1e15), LAW.best(1e15), rtol=0.05)


@pytest.mark.slow
def test_intervals_hold_the_truth_and_widen_with_noise():
    noisy = points(noise=0.005)
    laws = bootstrap(noisy, fit_law(noisy), draws=12, seed=0)
    low, high = interval([law.alpha for law in laws])
    assert low < LAW.alpha < high
    clean = points(noise=0.0005)
    narrow = interval([law.alpha for law in bootstrap(clean, fit_law(clean), draws=12, seed=0)])
    assert high - low > 2 * (narrow[1] - narrow[0])


def test_the_best_size_is_the_lowest_loss_of_a_budget():
    flops = 1e15
    n, d = LAW.best(flops)
    assert 6 * n * d == pytest.approx(flops)
    assert all(LAW.loss(n, d) < LAW.loss(n * factor, d / factor) for factor in (0.8, 1.25))


def test_budgets_and_sizes_outside_of_those_run_are_extrapolated():
    assert extrapolated(points(), LAW, 1e14) == "" and extrapolated(points(), LAW, 6e20) == "budget"
    flat = dataclasses.replace(LAW, a=1e-3)  # parameters are worth nothing
    assert extrapolated(points(), flat, 1e14) == "size"


def test_runs_that_say_nothing_of_an_exponent_give_a_law_with_a_best_size_all_the_same():
    """Of a sweep in which small models that saw more were better at every budget (docs/scaling.md)."""
    seen = {1297024: (150, 45, 450), 40848: (5850, 1755, 17550), 94496: (2557, 767, 7670), 317120: (639, 192, 1917)}
    losses = (4.45, 4.68, 4.36, 3.84, 4.1, 3.19, 3.73, 4.31, 3.38, 4.18, 4.59, 3.8)
    pairs = [(n, 1000 * thousands) for n in seen for thousands in seen[n]]
    runs = [Point("", n, d, loss) for (n, d), loss in zip(pairs, losses, strict=True)]
    laws = bootstrap(runs, fit_law(runs), draws=20, seed=0)
    assert min(law.alpha for law in laws) > 0
    for law in laws:
        parameters, tokens = law.best(1e12)
        assert 0 < parameters < np.inf and 0 < tokens < np.inf and np.isfinite(law.loss(parameters, tokens))


def test_an_exponent_that_may_be_anything_is_not_identified():
    assert is_identified(0.3, 0.4)
    assert not is_identified(0.1, 17.0) and not is_identified(-0.1, 0.2)


def write_run(folder, point, *, steps=10, last=10):
    folder = folder / point.name
    folder.mkdir()
    run = {"parameters": point.parameters, "tokens": point.tokens, "steps": steps}
    (folder / "sweep.json").write_text(json.dumps(run))
    write_loss(folder, last, point.loss)


def write_loss(folder, last, loss):
    rows = [{"step": 5, "split": "validation", "loss": 9.0}, {"step": last, "split": "validation", "loss": loss}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_runs_that_have_ended_are_read(tmp_path):
    for point in points()[:-1]:
        write_run(tmp_path, point)
    write_run(tmp_path, points()[-1], last=9)  # which goes on yet
    found, unfinished = read_runs(tmp_path)
    assert sorted(point.name for point in found) == sorted(point.name for point in points()[:-1])
    assert unfinished == [points()[-1].name]


def test_a_damaged_run_and_a_loss_that_is_none_are_named(tmp_path):
    for point in points():
        write_run(tmp_path, point)
    name = points()[3].name
    write_loss(tmp_path / name, 10, float("nan"))
    with pytest.raises(ValueError, match="metrics.jsonl: the loss is nan; remove the folder to fit without"):
        read_runs(tmp_path)
    for text in ('{"steps": 10}', "[]"):
        (tmp_path / name / "sweep.json").write_text(text)
        write_loss(tmp_path / name, 10, 3.0)
        with pytest.raises(ValueError, match=r": no run of a sweep \(.*\); remove the folder"):
            read_runs(tmp_path)


def test_too_few_runs_and_runs_alike_are_refused(tmp_path):
    for point in points()[:5]:
        write_run(tmp_path, point)
    with pytest.raises(ValueError, match="5 runs have ended; a law of five numbers wants 6 or more"):
        read_runs(tmp_path)
    for place in range(6):
        (tmp_path / f"alike{place}").mkdir(parents=True)
        write_run(tmp_path / f"alike{place}", Point("x", 10**6, 10**6 + place, 4.0))
    with pytest.raises(ValueError, match="5 runs"):
        read_runs(tmp_path)

"""From results to Markdown: of every study its tables, what differs from what, a picture, and the command behind it."""

import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metis_jax.evaluation.bootstrap import Estimate
from metis_jax.evaluation.measure import GROUPS, Measure
from metis_jax.files.outputs import new_file, write_text
from nano.measure import information
from nano.studies import results, sounds
from nano.studies.plan import Study
from nano.studies.results import Result
from nano.studies.statistics import Cells, Compared, cells, comparisons, estimate, grouped

ABOUT = "about.json"  # the command that a study was run by
LOSS = Measure("loss", "held-out loss, nats", "lower")
MEASURES = (
    LOSS,
    Measure("trained", "parameters that move", ""),
    *(measure for group in GROUPS.values() for measure in group),
    Measure("rtf", "computing time / length", ""),
    Measure(information.MEASURE, "share of the entropy that is told %", ""),
)
_SURE, _NOT_TOLD = 0.05, "not told apart"
_MANY = 4
_HEAD = """# Studies of the small model

Written by `{command}` from the results of `python -m nano.studies STUDY`; not by hand.

Cells are means with 95% intervals, by a bootstrap that draws seeds and files anew; error rates are pooled over words.
Below the tables arms are compared on the same seeds and files, in the few measures that a study names: p is by
permutation over files, after Holm's correction for all comparisons of the study. Where there is one value a seed, as of
losses, intervals and p are Student's, of paired seeds. "Apart" says that the two intervals do not overlap.
"""
_FOUND = """## What was found

Made from the comparisons below: "better" and "worse" where p is under {sure}, else "not told apart".
"""


def write(studies: Mapping[str, Study], workdir: pathlib.Path, output: pathlib.Path, command: str) -> list[str]:
    """Writes the report, and pictures into the folder `images` beside it; the names of the studies it has.

    ValueError where there are no results at all.
    """
    found = {name: results.read(workdir / name) for name in studies}
    done = [name for name, rows in found.items() if rows]
    if not done:
        raise ValueError(f"--workdir={workdir}: no study has results there; run one of {', '.join(studies)}")
    lines, sections = [_row(["study", "the paper says", "here"]), _row(["---"] * 3)], []
    for name in done:
        study, grids = studies[name], cells(grouped(studies[name], found[name]))
        compared = comparisons(grids, study.pairs(), [one for one in MEASURES if one.key in study.compared])
        picture = output.parent / "images" / f"study_{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        with new_file(picture) as partial:
            _figure(study, found[name], grids).savefig(partial, format="png", dpi=110)
        about = json.loads((workdir / name / ABOUT).read_text(encoding="utf-8"))
        lines.append(_row([study.title, study.paper or "(it does not ask)", finding(study, grids, compared)]))
        sections.append(section(study, grids, compared, about, f"images/{picture.name}"))
        sections += [_to_hear(task, files, output.parent) for task, files in sounds.found(study, workdir / name)]
    if left := [studies[name].title for name in studies if name not in done]:
        sections.append(f"Not run: {'; '.join(left)}.\n")
    head = [_HEAD.format(command=command), _FOUND.format(sure=_SURE), "\n".join([*lines, ""])]
    write_text(output, "\n".join([*head, *sections]))
    return done


def finding(study: Study, grids: Cells, compared: Sequence[Compared]) -> str:
    """What the comparisons say, by measure; of a study without any, which arm has the most."""
    if not compared:
        measure = _drawn(study, grids)
        return f"{measure.title}: {'; '.join(_most(study, measure, grids))}"
    measures = dict.fromkeys(one.found.measure for one in compared)
    return ". ".join(_who_is_better(measure, compared) for measure in measures)


def _who_is_better(measure: Measure, compared: Iterable[Compared]) -> str:
    """Arms that are alike in a sentence of their own."""
    tasks: dict[tuple[str, str, str], list[str]] = {}
    for one in compared:
        if one.found.measure == measure:
            tasks.setdefault((one.found.first, one.found.second, _verdict(one)), []).append(one.task)
    arms: dict[tuple[str, str, str], list[str]] = {}
    for (first, second, verdict), where in tasks.items():
        arms.setdefault((first, verdict, ", ".join(where)), []).append(f"*{second}*")
    others = Counter(first for first, _, _ in tasks)
    said = (
        f"{_names(seconds, others[first])} {verdict} {'from' if verdict == _NOT_TOLD else 'than'} *{first}* in {where}"
        for (first, verdict, where), seconds in arms.items()
    )
    return f"{measure.title}: {'; '.join(said)}"


def _names(arms: Sequence[str], others: int) -> str:
    """Of arms that are compared with one; many that are all of them, by their number."""
    return f"all {others} others" if _MANY < len(arms) == others else ", ".join(arms)


def _most(study: Study, measure: Measure, grids: Cells) -> list[str]:
    """Of every task the arm with the highest mean."""
    said = []
    for task in _tasks(measure, grids):
        means = {arm: estimate(grids[task, arm][measure.key]) for arm in _arms(study, task, grids)}
        most = max(means, key=lambda arm: means[arm].mean)
        said.append(f"of {task} *{most}* has the most, {_cell(means[most], measure)}")
    return said


def section(study: Study, grids: Cells, compared: Sequence[Compared], about: Mapping[str, Any], picture: str) -> str:
    """One study."""
    lines = [f"## {study.title}", "", study.question, "", *_ran_with(about), f"`{about['command']}`", ""]
    lines += [f"One row alone: the same with `--only=ARM.SEED`, as `--only={study.arms[0].key}.{study.seeds[0]}`.", ""]
    for task in dict.fromkeys(task for task, _ in grids):
        lines += [*_table(study, task, grids), ""]
    if missing := _missing(study, grids):
        lines += [f"Not measured: {', '.join(missing)}.", ""]
    return "\n".join([*lines, *_compared(compared, grids), f"![{study.title}]({picture})", ""])


def _to_hear(task: str, files: Iterable[tuple[str, pathlib.Path]], folder: pathlib.Path) -> str:
    """Links from the folder of the report."""
    links = (f"[{arm}]({pathlib.Path(os.path.relpath(file, folder)).as_posix()})" for arm, file in files)
    return f"To listen to, one recording of {task}: {', '.join(links)}.\n"


def _ran_with(about: Mapping[str, Any]) -> list[str]:
    """Steps, and components by the identity of their weights."""
    said = [f"{about['steps']} steps of every training"] if "steps" in about else []
    said += [f"pre-trained generator {about['pretrained']}"] if "pretrained" in about else []
    if model := about.get("model"):
        said.append(f"model: {', '.join(f'{name} {identity}' for name, identity in model.items())}")
    return [f"{'; '.join(said)[0].upper()}{'; '.join(said)[1:]}.", ""] if said else []


def _missing(study: Study, grids: Cells) -> list[str]:
    """Arms without any result; where there are tables of speech, also arms and sets that were not decoded."""
    missing, decoded = {}, {}
    for arm in study.arms:
        spoken = [name for name in arm.sets if set(grids.get((name, arm.name), ())) - {LOSS.key, "trained"}]
        if not spoken and (arm.task, arm.name) not in grids:
            missing[f"{arm.name} ({arm.task})"] = None
        elif spoken:
            missing |= dict.fromkeys(name for name in arm.sets if name not in spoken)
        if arm.sets:
            decoded[arm.key] = bool(spoken)
    if set(decoded.values()) == {True, False}:
        missing["speech of the other arms"] = None
    return list(missing)


def _number(value: float, measure: Measure) -> str:
    if measure.scale != 1:
        return f"{value * measure.scale:.1f}"
    return f"{value:,.0f}" if measure.key == "trained" else f"{value:.3f}" if measure == LOSS else f"{value:.2f}"


def _cell(found: Estimate, measure: Measure) -> str:
    if found.low is None or found.low == found.high:
        return _number(found.mean, measure)
    return f"{_number(found.mean, measure)} [{_number(found.low, measure)}, {_number(found.high, measure)}]"


def _row(values: Iterable[str]) -> str:
    return "| " + " | ".join(value.replace("|", "\\|") for value in values) + " |"


def _arms(study: Study, task: str, grids: Cells) -> list[str]:
    """The arms that were measured in a task: recordings beside first, then as the study has them."""
    names = list(dict.fromkeys(arm.name for arm in study.arms))
    measured = [arm for found, arm in grids if found == task]
    return sorted(measured, key=lambda arm: names.index(arm) if arm in names else -1)


def _table(study: Study, task: str, grids: Cells) -> list[str]:
    arms = _arms(study, task, grids)
    measures = [one for one in MEASURES if any(one.key in grids[task, arm] for arm in arms)]
    heads = [f"{one.title}, {one.better} is better" if one.better else one.title for one in measures]
    lines = [_row([task, *heads, "seeds x files"]), _row(["---"] * (2 + len(heads)))]
    for arm in arms:
        own = grids[task, arm]
        values = [_cell(estimate(own[one.key]), one) if one.key in own else "" for one in measures]
        sizes = dict.fromkeys(f"{len(grid.seeds)} x {len(grid.files)}" for key, grid in own.items() if _has_files(key))
        lines.append(_row([arm, *values, ", ".join(sizes)]))
    return lines


def _has_files(measure: str) -> bool:
    return measure not in ("trained", "rtf")


def _compared(compared: Sequence[Compared], grids: Cells) -> list[str]:
    if not compared:
        return []
    heads = ["task", "arms", "measure", "difference", "p", "is", "intervals", "pairs"]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for one in compared:
        found = one.found
        first, second = (estimate(grids[one.task, arm][found.measure.key]) for arm in (found.first, found.second))
        cells = [
            one.task,
            f"{found.second} - {found.first}",
            found.measure.title,
            _cell(found.difference, found.measure),
        ]
        cells += [f"{found.p:.3f}", _verdict(one), _apart(first, second)]
        lines.append(_row([*cells, str(found.count)]))
    text = f"Comparisons that p is corrected for: {len(compared)}."
    if swapped := [one.found.count for one in compared if not one.is_by_seed]:
        text += _least_p(len(compared), min(swapped))
    return [*lines, "", text, ""]


def _verdict(compared: Compared) -> str:
    """Of the second arm."""
    found = compared.found
    if found.p >= _SURE:
        return _NOT_TOLD
    side = "higher" if found.difference.mean > 0 else "lower"
    return "better" if side == found.measure.better else "worse"


def _least_p(comparisons: int, pairs: int) -> str:
    """How small p can be at all, and what it takes where that is not enough."""
    least = min(1.0, comparisons * 2 / 2**pairs)
    if least < _SURE:
        return ""
    enough = int(np.floor(np.log2(2 * comparisons / _SURE))) + 1
    return f" With {pairs} to swap none is below {least:g}, whatever the difference; it takes {enough} for {_SURE:g}."


def _apart(first: Estimate, second: Estimate) -> str:
    if None in (first.low, second.low):
        return "of one value there is none"
    return "overlap" if first.low <= second.high and second.low <= first.high else "apart"


def _figure(study: Study, rows: Sequence[Result], grids: Cells) -> Figure:
    """A panel for every task: losses over steps, or means with their intervals."""
    losses = [row for row in rows if row.measure == LOSS.key]
    measure = _drawn(study, grids)
    tasks = _tasks(measure, grids)
    arms = {task: [arm for arm in _arms(study, task, grids) if measure.key in grids[task, arm]] for task in tasks}
    height = 2.6 if losses else 0.7 + 0.25 * max(map(len, arms.values()), default=0)
    figure = Figure(figsize=(9, 0.6 + height * len(tasks)), layout="constrained")
    panels = figure.subplots(max(1, len(tasks)), 1, squeeze=False, sharex=True)[:, 0]
    for axes, task in zip(panels, tasks, strict=False):
        axes.set_title(task, loc="left", fontsize=10)
        if losses:
            _draw_curves(
                axes, {arm: [row for row in losses if (row.task, row.arm) == (task, arm)] for arm in arms[task]}
            )
            axes.set_ylabel(measure.title)
        else:
            _draw_means(axes, {arm: estimate(grids[task, arm][measure.key]) for arm in arms[task]}, measure.scale)
    panels[-1].set_xlabel("step" if losses else measure.title)
    return figure


def _draw_curves(axes: Axes, losses: Mapping[str, Iterable[Result]]) -> None:
    """Means over the seeds; an arm that takes no steps is a level."""
    for place, (arm, rows) in enumerate(losses.items()):
        steps, means = _curve(rows)
        if len(steps) > 1:
            axes.plot(steps, means, marker=".", label=arm, color=f"C{place}")
        else:
            axes.axhline(means[0], linestyle="--", label=arm, color=f"C{place}")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_means(axes: Axes, found: Mapping[str, Estimate], scale: float) -> None:
    """A dot with its interval on a line of its own."""
    for place, one in enumerate(found.values()):
        edges = [one.mean if edge is None else edge for edge in (one.low, one.high)]
        axes.plot(np.array(edges) * scale, [place, place], color="C0")
        axes.plot(one.mean * scale, place, "o", color="C0")
    axes.set_yticks(range(len(found)), found)
    axes.set_ylim(len(found) - 0.5, -0.5)


def _drawn(study: Study, grids: Cells) -> Measure:
    """The loss where it was recorded, else what the study names."""
    if any(LOSS.key in own for own in grids.values()):
        return LOSS
    return next(one for one in MEASURES if one.key == study.shown)


def _tasks(measure: Measure, grids: Cells) -> list[str]:
    """Those that were measured so."""
    return list(dict.fromkeys(task for (task, _), own in grids.items() if measure.key in own))


def _curve(rows: Iterable[Result]) -> tuple[list[int], list[float]]:
    """Steps, and means over the seeds."""
    by_step: dict[int, list[float]] = {}
    for row in rows:
        by_step.setdefault(row.step, []).append(row.value)
    return sorted(by_step), [float(np.mean(by_step[step])) for step in sorted(by_step)]

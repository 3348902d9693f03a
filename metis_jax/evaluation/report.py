"""The table: one row per measure and one column per system, as Markdown, CSV or JSON.

Markdown holds means and intervals; CSV has one line per system, file and measure, the pooled values under the file
"(all)"; JSON has both, nested.  Markdown and JSON compare pairs of systems too.  What could not be measured carries its
reason in all three.
"""

import collections
import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from metis_jax.evaluation.bootstrap import Estimate, estimate
from metis_jax.evaluation.comparison import Comparison, compare
from metis_jax.evaluation.errors import EvaluationError
from metis_jax.evaluation.measure import Measure, Value
from metis_jax.files.outputs import write_text

FORMATS = (".md", ".csv", ".json")
_ALL_FILES = "(all)"


@dataclasses.dataclass(frozen=True)
class Summary:
    """One cell: the pooled value over the files that could be measured, and why the others could not."""

    estimate: Estimate | None
    count: int
    total: int
    reasons: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class System:
    """One set of outputs: values by file and measure."""

    name: str
    files: Mapping[str, Mapping[str, Value]]


@dataclasses.dataclass(frozen=True)
class Table:
    """All that a report says.

    Attributes:
      models: what it was measured with, by kind.
      pairs: names of systems to compare, two and two.
      published: the paper's figures by key of measure, as they are printed beside.
      notes: lines on what the figures mean.
    """

    measures: Sequence[Measure]
    systems: Sequence[System]
    seed: int
    models: Mapping[str, str]
    pairs: Sequence[tuple[str, str]] = ()
    published: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()

    def comparisons(self) -> list[Comparison]:
        """Every measure of every pair."""
        files = {system.name: system.files for system in self.systems}
        return compare(self.measures, files, self.pairs, seed=self.seed)

    def summary(self, system: System, measure: Measure) -> Summary:
        found = [values[measure.key] for values in system.files.values()]
        measured = [value for value in found if value.value is not None]
        reasons = collections.Counter(value.reason for value in found if value.value is None)
        pooled = None
        if measured:
            pooled = estimate(
                np.array([value.value for value in measured], dtype=np.float64),
                np.array([value.weight for value in measured], dtype=np.float64),
                seed=self.seed,
            )
        return Summary(pooled, len(measured), len(found), dict(reasons))


def _number(value: float, measure: Measure) -> str:
    return f"{value * measure.scale:.1f}" if measure.scale != 1 else f"{value:.2f}"


def _with_interval(estimate: Estimate, measure: Measure) -> str:
    text = _number(estimate.mean, measure)
    if estimate.low is not None:
        text += f" [{_number(estimate.low, measure)}, {_number(estimate.high, measure)}]"
    return text


def _cell(summary: Summary, measure: Measure) -> str:
    if summary.estimate is None:
        return "not measured"
    text = _with_interval(summary.estimate, measure)
    return text if summary.count == summary.total else f"{text} ({summary.count} of {summary.total})"


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def markdown(table: Table) -> str:
    """Means with 95% intervals, then comparisons, then what is missing and why."""
    heads = [f"{system.name} ({len(system.files)})" for system in table.systems]
    heads += ["Metis (paper)"] if table.published else []
    lines = [_markdown_row(["measure", "better", *heads]), _markdown_row(["---"] * (2 + len(heads)))]
    notes = []
    for measure in table.measures:
        cells = []
        for system in table.systems:
            summary = table.summary(system, measure)
            cells.append(_cell(summary, measure))
            notes += [(reason, measure.title, system.name, count) for reason, count in summary.reasons.items()]
        cells += [table.published.get(measure.key, "")] if table.published else []
        lines.append(_markdown_row([measure.title, measure.better, *cells]))
    counted = "pooled rates: all edits over all words or characters"
    lines += ["", f"Mean over files ({counted}) and 95% bootstrap interval, seed {table.seed}."]
    if table.models:
        lines.append("Measured with " + ", ".join(sorted(table.models.values())) + ".")
    lines += table.notes
    lines += _compared(table)
    by_reason: dict[str, list[str]] = {}
    for reason, title, name, count in notes:
        by_reason.setdefault(reason, []).append(f"{title} of {name} ({count})")
    if by_reason:
        lines += ["", "Not measured, in files:", ""]
        lines += [f"- {', '.join(where)}: {reason}" for reason, where in by_reason.items()]
    return "\n".join(lines) + "\n"


def _compared(table: Table) -> list[str]:
    comparisons = table.comparisons()
    found = {(one.first, one.second) for one in comparisons}
    apart = [f"{second} and {first}" for first, second in table.pairs if (first, second) not in found]
    lines = ["", *(f"{both} are not compared: no file was measured of both." for both in apart)] if apart else []
    if not comparisons:
        return lines
    lines += ["", _markdown_row(["systems", "measure", "difference", "p", "better on", "worse on", "files"])]
    lines.append(_markdown_row(["---"] * 7))
    for one in comparisons:
        cells = [f"{one.second} - {one.first}", one.measure.title, _with_interval(one.difference, one.measure)]
        cells += [f"{one.p:.3f}", f"{one.better:.0%}", f"{one.worse:.0%}", str(one.count)]
        lines.append(_markdown_row(cells))
    corrected = f", after Holm's correction for {len(comparisons)} comparisons" if len(comparisons) > 1 else ""
    lines += ["", f"Differences over the same files, 95% paired bootstrap interval; p by permutation{corrected}."]
    return lines


def comma_separated(table: Table) -> str:
    """One line per system, file and measure."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["system", "file", "measure", "value", "low", "high", "weight", "measured", "total", "reason"])
    for system in table.systems:
        for measure in table.measures:
            for name, values in system.files.items():
                value = values[measure.key]
                is_measured = value.value is not None
                numbers = [value.value, None, None, value.weight] if is_measured else [None] * 4
                writer.writerow([system.name, name, measure.key, *numbers, int(is_measured), 1, value.reason])
            summary = table.summary(system, measure)
            pooled = summary.estimate or Estimate(None, None, None)
            reasons = "; ".join(summary.reasons)
            writer.writerow(
                [system.name, _ALL_FILES, measure.key, pooled.mean, pooled.low, pooled.high, None]
                + [summary.count, summary.total, reasons]
            )
    return buffer.getvalue()


def as_json(table: Table) -> str:
    """Settings, and per system the pooled and the single values."""
    systems = {}
    for system in table.systems:
        pooled = {}
        for measure in table.measures:
            summary = table.summary(system, measure)
            interval = dataclasses.asdict(summary.estimate) if summary.estimate else {"mean": None}
            pooled[measure.key] = interval | {
                "measured": summary.count,
                "total": summary.total,
                "not_measured": dict(summary.reasons),
            }
        files = {
            name: {key: dataclasses.asdict(value) for key, value in values.items()}
            for name, values in system.files.items()
        }
        systems[system.name] = {"summary": pooled, "files": files}
    measures = {measure.key: {"title": measure.title, "better": measure.better} for measure in table.measures}
    content = {"seed": table.seed, "models": dict(table.models), "measures": measures, "systems": systems}
    comparisons = [dataclasses.asdict(one) | {"measure": one.measure.key} for one in table.comparisons()]
    content |= {"comparisons": comparisons, "published": dict(table.published), "notes": list(table.notes)}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


_WRITERS = {".md": markdown, ".csv": comma_separated, ".json": as_json}


def report_paths(report: str) -> list[Path]:
    """The files that --report=PATH means: PATH itself, or without a known suffix PATH.md, PATH.csv and PATH.json."""
    path = Path(report)
    if not path.parent.is_dir():
        raise EvaluationError(f"--report={report}: the directory {path.parent} does not exist")
    paths = [path] if path.suffix in FORMATS else [path.with_name(path.name + suffix) for suffix in FORMATS]
    if any(p.is_dir() for p in paths) or path.is_dir():
        raise EvaluationError(f"--report={report}: is a directory; name a file")
    return paths


def write_report(table: Table, paths: Iterable[Path]) -> None:
    """Every path in the format of its suffix; each appears whole or not at all."""
    for path in paths:
        write_text(path, _WRITERS[path.suffix](table))

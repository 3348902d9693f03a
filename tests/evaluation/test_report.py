"""The three formats say the same, with reasons for what is missing."""

import csv
import dataclasses
import io
import json

import pytest

from metis_jax.evaluation.errors import EvaluationError
from metis_jax.evaluation.measure import GROUPS, Value
from metis_jax.evaluation.report import System, Table, as_json, comma_separated, markdown, report_paths, write_report


@pytest.fixture
def table():
    rows = [*GROUPS["wer"], *GROUPS["stoi"], *GROUPS["pesq"]]
    files = {
        "a": {"wer": Value(0.5, 2), "stoi": Value(0.8), "pesq": Value(None, reason="needs the package pesq")},
        "b": {
            "wer": Value(0.0, 8),
            "stoi": Value(None, reason="shorter than 0.5 s"),
            "pesq": Value(None, reason="needs it"),
        },
    }
    return Table(rows, [System("ours|best", files)], 0, {"recognizer": "a recogniser"})


def test_markdown_pools_counts_and_explains(table):
    text = markdown(table)
    assert "| WER % | lower | 10.0 [0.0, 50.0] |" in text
    assert "| STOI | higher | 0.80 (1 of 2) |" in text
    assert "| PESQ (wide band) | higher | not measured |" in text
    assert "- STOI of ours|best (1): shorter than 0.5 s" in text
    assert "ours\\|best (2)" in text
    assert "Measured with a recogniser." in text


def test_csv_has_every_value_and_the_pooled_ones(table):
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert len(rows) == 3 * (2 + 1)
    by_place = {(row["file"], row["measure"]): row for row in rows}
    assert float(by_place["(all)", "wer"]["value"]) == pytest.approx(0.1)
    assert by_place["(all)", "stoi"]["measured"] == "1"
    assert by_place["b", "stoi"]["value"] == ""
    assert by_place["b", "stoi"]["reason"] == "shorter than 0.5 s"


def test_json_is_strict_and_complete(table):
    content = json.loads(as_json(table))
    summary = content["systems"]["ours|best"]["summary"]
    assert summary["wer"]["mean"] == pytest.approx(0.1)
    assert summary["pesq"]["mean"] is None
    assert summary["pesq"]["not_measured"] == {"needs the package pesq": 1, "needs it": 1}
    assert content["systems"]["ours|best"]["files"]["a"]["stoi"]["value"] == 0.8


def test_report_paths_and_writing(table, tmp_path):
    paths = report_paths(str(tmp_path / "se.v2"))
    assert [path.name for path in paths] == ["se.v2.md", "se.v2.csv", "se.v2.json"]
    write_report(table, paths)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    assert report_paths(str(tmp_path / "one.csv")) == [tmp_path / "one.csv"]
    with pytest.raises(EvaluationError, match="does not exist"):
        report_paths(str(tmp_path / "absent" / "x.md"))
    with pytest.raises(EvaluationError, match="is a directory"):
        report_paths(str(tmp_path))


def test_systems_are_compared_over_the_files_that_both_have():
    rows = [*GROUPS["wer"], *GROUPS["stoi"]]
    first = {name: {"wer": Value(0.5, 10), "stoi": Value(0.5)} for name in "abc"}
    second = {name: {"wer": Value(0.25, 10), "stoi": Value(0.5)} for name in "ab"}
    second["c"] = {"wer": Value(None, reason="damaged"), "stoi": Value(0.8)}
    table = Table(rows, [System("old", first), System("new", second)], 0, {}, pairs=[("old", "new")])
    text = markdown(table)
    assert "| systems | measure | difference | p | better on | worse on | files |" in text
    assert "| new - old | WER % | -25.0 [-25.0, -25.0] | " in text
    assert "| new - old | STOI | 0.10 [0.00, 0.30] | " in text
    assert " | 100% | 0% | 2 |" in text and " | 33% | 0% | 3 |" in text
    assert "after Holm's correction for 2 comparisons" in text
    [wer, stoi] = json.loads(as_json(table))["comparisons"]
    assert (wer["measure"], wer["first"], wer["second"], wer["count"]) == ("wer", "old", "new", 2)
    assert wer["p"] == pytest.approx(2 * 0.5, abs=0.06)  # half of the ways to swap two files; two comparisons
    assert stoi["difference"]["mean"] == pytest.approx(0.1)


def test_systems_without_a_common_file_are_not_compared(table):
    other = System("other", {"z": table.systems[0].files["a"]})
    apart = dataclasses.replace(table, systems=[*table.systems, other], pairs=[("ours|best", "other")])
    assert "\nother and ours|best are not compared: no file was measured of both.\n" in markdown(apart)
    assert json.loads(as_json(apart))["comparisons"] == []


def test_published_figures_stand_beside(table):
    published = dataclasses.replace(table, published={"wer": "2.28"}, notes=["With the true length."])
    text = markdown(published)
    assert "| measure | better | ours\\|best (2) | Metis (paper) |" in text
    assert "| WER % | lower | 10.0 [0.0, 50.0] | 2.28 |" in text
    assert "\nWith the true length.\n" in text
    assert "paper" not in markdown(table)
    assert json.loads(as_json(published))["published"] == {"wer": "2.28"}

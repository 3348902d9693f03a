"""Benchmarks that nothing else runs, at their smallest: they end, and their tables have what was asked.  Times are not
looked at."""

import re
import subprocess
import sys

import pytest
from commands import ROOT, users_environment


def rows(*command: str) -> list[list[str]]:
    """Cells of the table that a benchmark prints, without its head."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=users_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert set(lines[1]) <= set("|-: ")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_products_say_what_each_type_is_multiplied_as():
    found = {tuple(row[:2]): row[2] for row in rows("benchmarks/products.py", "--shape=8,16,32", "--rounds=1")}
    assert set(found) == {("float32", "float32"), ("bfloat16", "bfloat16"), ("bfloat16", "float32")}
    assert found["float32", "float32"] == "float32" and set(found.values()) <= {"float32", "bfloat16"}


def test_an_index_is_measured_whole():
    [row] = rows("benchmarks/index.py", "--records=2000", "--shards=2", "--speakers=100")
    kept, peak, pipeline = (int(cell) for cell in row[:3])
    # An id of 30 letters, a length and a speaker at the least.  So few records may stay below the peak of the imports.
    assert 30 < kept < 1000 and 0 <= peak <= pipeline


@pytest.mark.slow
def test_starts_are_of_the_packaged_model_with_empty_and_full_caches():
    [row] = rows("benchmarks/start.py", "--seconds=1")
    assert row[0] == "1 s" and all(re.fullmatch(r"\d+\.\d s, \d+ MB", cell) for cell in row[1:]) and len(row) == 3

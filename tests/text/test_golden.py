"""The reference's own output for 19 sentences: phoneme strings and ids, equal to the last symbol."""

import json
from pathlib import Path

import pytest

from metis_jax.text import frontend, vocabulary

pytestmark = pytest.mark.extra("text", "phonemizer", "pyopenjtalk")

ROWS = json.loads((Path(__file__).parents[1] / "golden" / "g2p.json").read_text(encoding="utf-8"))


def test_all_rows_are_here():
    assert len(ROWS) == 19
    assert {row["language"] for row in ROWS} == set(frontend.languages.LANGUAGES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['language']}: {row['text'][:20]}")
def test_row(row):
    reading = frontend.TextFrontEnd().read(row["text"], row["language"])
    assert reading.phonemes == row["phonemes"]
    assert list(reading.ids) == row["ids"]
    assert vocabulary.encode(row["phonemes"])[0] == row["ids"]

"""Sentence ends in six languages, and parts that are short enough."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metis_jax.text.errors import TextError
from metis_jax.text.sentences import split_sentences, split_text, weight


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Dr. Smith paid $12.50. He left!", ["Dr. Smith paid $12.50.", "He left!"]),
        ("It was 3 p.m. in the U.S. Army. Yes... No?", ["It was 3 p.m. in the U.S. Army.", "Yes...", "No?"]),
        ('He said "No!" Then he left.', ['He said "No!"', "Then he left."]),
        ("Am 3. Mai, z.B. um 5 Uhr. Gut.", ["Am 3. Mai, z.B. um 5 Uhr.", "Gut."]),
        ("M. Dupont arrive. Bonjour !", ["M. Dupont arrive.", "Bonjour !"]),
        ("你好。“好！”他说。", ["你好。", "“好！”", "他说。"]),
        ("はい。そうですか？", ["はい。", "そうですか？"]),
        ("A line\nand another", ["A line", "and another"]),
        ("  ", []),
    ],
)
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


def test_short_sentences_share_a_part():
    assert split_text("One. Two. Three.", longest=10) == ["One. Two.", "Three."]
    assert split_text("一。二。三。", longest=12) == ["一。二。", "三。"]


def test_long_sentences_break_at_marks_then_spaces():
    assert split_text("one two three, four five six", longest=16) == ["one two three,", "four five six"]
    assert split_text("aaaa bbbb cccc", longest=10) == ["aaaa bbbb", "cccc"]
    assert split_text("a" * 25, longest=10) == ["a" * 10, "a" * 10, "a" * 5]


def test_a_length_below_one_is_refused():
    with pytest.raises(TextError, match="longest: 0"):
        split_text("a", longest=0)


@settings(database=None, deadline=None, max_examples=50)
@given(st.text(max_size=200), st.integers(3, 40))
def test_nothing_but_space_is_lost(text, longest):
    parts = split_text(text, longest)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(part and weight(part) <= longest for part in parts)


@pytest.mark.parametrize("unit", ["a", "M. ", "我,", "." * 999 + "x"])
def test_a_text_as_long_as_any_that_is_read(unit):
    """Work that grows with the square of the length would take minutes here."""
    text = unit * (100_000 // len(unit))
    parts = split_text(text, 200)
    assert "".join("".join(parts).split()) == "".join(text.split()) and max(map(weight, parts), default=0) <= 200

"""Text normalisation and edit distances, checked by hand and against a plain implementation."""

import numpy as np
import pytest

from metis_jax.evaluation.errors import Unmeasurable
from metis_jax.evaluation.words import character_errors, edit_distance, normalize, word_errors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Please call Stella.", "please call stella"),
        ("  It’s well-known — isn't it? ", "it's well known isn't it"),
        ("'Quoted' words", "quoted words"),
        ("Straße, Ünïcode: 你好！", "strasse ünïcode 你好"),
        ("…", ""),
    ],
)
def test_normalize(text, expected):
    assert normalize(text) == expected


def _plain_distance(a, b):
    table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            substituted = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, substituted)
    return table[-1][-1]


@pytest.mark.parametrize("seed", range(20))
def test_edit_distance_equals_the_textbook_table(seed):
    rng = np.random.default_rng(seed)
    a, b = ("".join(rng.choice(list("abc"), size=rng.integers(0, 12))) for _ in range(2))
    assert edit_distance(a, b) == _plain_distance(a, b)


def test_word_errors_of_a_shifted_text():
    errors = word_errors("one two three four", "Two, three: four five!")
    assert (errors.edits, errors.length, errors.rate) == (2, 4, 0.5)
    assert word_errors("one two", "").rate == 1.0
    assert word_errors("one", "one two three").rate == 2.0  # insertions can take it over one


def test_character_errors_ignore_spaces():
    assert character_errors("你 好 吗", "你好").edits == 1
    assert character_errors("ab c", "a bc").edits == 0


def test_a_reference_without_words_is_refused():
    with pytest.raises(Unmeasurable, match="no words"):
        word_errors("...", "something")

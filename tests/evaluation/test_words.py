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


def test_phones_are_compared_by_their_ids():
    assert edit_distance([4, 8, 15], [4, 15]) == 1


def test_word_errors_of_a_shifted_text():
    errors = word_errors("one two three four", "Two, three: four five!", language="de")
    assert (errors.edits, errors.length, errors.rate) == (2, 4, 0.5)
    assert word_errors("one two", "", language="de").rate == 1.0
    assert word_errors("one", "one two three", language="de").rate == 2.0  # insertions can take it over one


def test_character_errors_ignore_spaces():
    assert character_errors("你 好 吗", "你好", language="zh").edits == 1
    assert character_errors("ab c", "a bc", language="de").edits == 0


@pytest.mark.parametrize(
    ("language", "said", "heard", "length"),
    [
        ("zh", "今天天气很好我们去公园", "今天天气很好，我们去花园。", 11),
        ("ja", "今日は天気がいいです", "今日 は 天気 が 良いです", 10),
        ("ko", "오늘 날씨가 좋아요", "오늘날씨가 좋았요", 8),
    ],
)
def test_one_wrong_character_is_no_wrong_sentence(language, said, heard, length):
    errors = word_errors(said, heard, language=language)
    assert (errors.edits, errors.length) == (1, length)


@pytest.mark.extra("eval", "whisper_normalizer")
@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("twenty-five percent of eighteen sixty", "25% of 1860."),
        ("mister Smith and missus Jones", "Mr. Smith and Mrs. Jones"),
        ("I am sure it is a grey colour", "I’m sure it's a gray color..."),
    ],
)
def test_english_is_compared_as_it_is_spoken(said, heard):
    assert word_errors(said, heard, language="en").edits == 0
    assert character_errors(said, heard, language="en").edits == 0
    assert word_errors(said, heard + " twice", language="en").edits == 1


def test_a_reference_without_words_is_refused():
    with pytest.raises(Unmeasurable, match="no words"):
        word_errors("...", "something", language="zh")


@pytest.mark.extra("eval", "whisper_normalizer")
def test_english_without_words_is_refused():
    with pytest.raises(Unmeasurable, match="no words"):
        word_errors("... (laughs)", "something", language="en")

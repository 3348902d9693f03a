"""Japanese: katakana to symbols, and OpenJTalk's words."""

import pytest

from metis_jax.text import morae


@pytest.mark.parametrize(
    ("kana", "symbols"),
    [
        (["コンニチワ"], "k|o|ɴ|n|i|tɕ|i|ɰᵝ|a"),
        (["トーキョー"], "t|o|o|kj|o|o"),
        (["ガッコー", "エ", "。"], "g|a|q|k|o|o|e"),
        (["ツ", "ー", "ー"], "tsɯ|ɯ|ɯ|ɯ"),
        (["ヴァ", "ティ", "デュ", "クヮ"], "v|a|t|i|dej|ɯ|kɯ|a"),
        (["ア", ",", "ー"], "a|,|,"),
        (["ー"], ""),
        ([], ""),
    ],
)
def test_katakana(kana, symbols):
    assert morae.phones(kana) == symbols


def test_h_has_a_combining_cedilla():
    assert morae.phones(["ハ"]) == "c\u0327|a"


@pytest.mark.extra("text", "pyopenjtalk")
@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("日本の首都", "n|i|q|p|o|ɴ|n|o|ɕ|ɯ|t|o"),
        ("12,500円", "i|tɕ|i|m|a|ɴ|n|i|s|e|ɴ|g|o|c\u0327j|a|k|ɯ|e|ɴ"),
        ("躑躅", "tsɯ|ɯ|tsɯ|ɯ|dʑ|i"),
        ("3.14", "s|a|ɴ|t|e|ɴ|i|tɕ|i|j|o|ɴ"),
        ("はい！いいえ？", "c\u0327|a|i|!|i|i|e|?"),
    ],
)
def test_sentences(text, symbols):
    from metis_jax.text import japanese

    assert japanese.phonemes(text)[0] == symbols


@pytest.mark.extra("text", "pyopenjtalk")
def test_long_text_is_read_in_parts():
    from metis_jax.text import japanese

    once = japanese.phonemes("これはテストです。")[0]
    assert japanese.phonemes("これはテストです。" * 300)[0] == "|".join([once] * 300)

"""Readings of Chinese words in Zhuyin, from `pypinyin`'s dictionary; polyphones that stand alone are read by neighbours."""

import functools
from collections.abc import Sequence

from metis_jax.text.errors import require


@functools.cache
def _word(word: str) -> tuple[str, ...]:
    """Zhuyin of each character of a word; empty for a character without a reading."""
    pypinyin = require("pypinyin")
    style = pypinyin.Style.BOPOMOFO
    found = pypinyin.pinyin(word, style=style, errors=lambda chars: [""] * len(chars))
    return tuple(syllable[0] for syllable in found)


def readings(words: Sequence[str]) -> list[tuple[str, ...]]:
    """Zhuyin of each character of each word, in the context of the others."""
    return [_word(word) for word in words]

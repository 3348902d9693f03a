"""The phoneme table: 363 named symbols at the front of the 1024-entry embedding table of the released TTS weights.

A phoneme string is a list of symbols joined by `|`.  The reference drops whatever is not in the table without a word;
`encode` drops it too, and says what it was.
"""

import functools
import json
from collections.abc import Iterable, Sequence
from importlib import resources

from metis_jax.text.errors import TextError

SEPARATOR = "|"
WORD_BOUNDARY = "_"
_MARKS = (",", ".", "?", "!", ":", ";", "'", "…")


@functools.cache
def _table() -> dict:
    return json.loads(resources.files("metis_jax.text").joinpath("vocabulary.json").read_text(encoding="utf-8"))


def table_size() -> int:
    """Rows of the embedding table, named or not."""
    return _table()["table_size"]


@functools.cache
def symbols() -> tuple[str, ...]:
    """The named symbols; the position is the id."""
    return tuple(_table()["symbols"])


@functools.cache
def _ids() -> dict[str, int]:
    return {symbol: index for index, symbol in enumerate(symbols())}


@functools.cache
def marks() -> frozenset[int]:
    """Ids of the marks, at which a voice may pause; they are no sounds, and neither is `word_boundary`."""
    return frozenset(_ids()[mark] for mark in _MARKS)


def word_boundary() -> int:
    """The id of the boundary between two words."""
    return _ids()[WORD_BOUNDARY]


def split(phonemes: str) -> list[str]:
    """The symbols of a phoneme string, without the empty ones that a leading or trailing `|` leaves."""
    return [symbol for symbol in phonemes.split(SEPARATOR) if symbol]


def encode(phonemes: str) -> tuple[list[int], list[str]]:
    """Ids of a phoneme string, and the distinct symbols that have none.  A lone tone arrow is no symbol."""
    table = _ids()
    found = split(phonemes)
    unknown = dict.fromkeys(symbol for symbol in found if symbol not in table and symbol != "↑")
    return [table[symbol] for symbol in found if symbol in table], list(unknown)


def encode_strictly(phonemes: str) -> list[int]:
    """Ids of phonemes that a user wrote, where an unknown symbol is a mistake."""
    ids, unknown = encode(phonemes)
    if unknown:
        shown = ", ".join(repr(symbol) for symbol in unknown[:5])
        raise TextError(f"phonemes: {shown} not in the table; symbols are joined by '|', e.g. 'h|ə|l|oʊ|_|w|ɜː|l|d|.'")
    if not ids:
        raise TextError("phonemes: the string is empty; give symbols joined by '|', e.g. 'h|ə|l|oʊ'")
    return ids


def decode(ids: Iterable[int]) -> str:
    """The phoneme string of named ids."""
    names = symbols()
    ids = check_ids(list(ids))
    unnamed = [i for i in ids if i >= len(names)]
    if unnamed:
        raise TextError(f"phone ids: {unnamed[0]} has no symbol; the named ids are 0 to {len(names) - 1}")
    return SEPARATOR.join(names[i] for i in ids)


def check_ids(ids: Sequence[int]) -> list[int]:
    """The ids as a list, if the embedding table has a row for each."""
    for i in ids:
        if not 0 <= i < table_size():
            raise TextError(f"phone ids: {i!r} is out of range; ids go from 0 to {table_size() - 1}")
    return list(ids)

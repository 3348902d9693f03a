"""Japanese text to the reference's symbols (models/tts/maskgct/g2p/g2p/japanese.py): OpenJTalk's katakana, then morae.

The reference also computes accents, which its phoneme string does not carry, and stops where they disagree with the
katakana; here nothing stops.  A word that OpenJTalk can not read is read by Sudachi, which the same wheel brings along.
"""

import contextlib
import functools
import io
import re
import threading

from metis_jax.text.errors import require
from metis_jax.text.morae import MARKS, phones
from metis_jax.text.punctuation import is_silent

_MARK_NAMES = {
    "：": ":",
    "；": ";",
    "，": ",",
    "。": ".",
    "！": "!",
    "？": "?",
    "\n": ".",
    "．": ".",
    "⋯": "…",
    "···": "…",
    "・・・": "…",
    "·": ",",
    "・": ",",
    "•": ",",
    "、": ",",
    "$": ".",
    "‘": "'",
    "’": "'",
}
_MARK = re.compile("|".join(map(re.escape, _MARK_NAMES)))
# Kana, Han, Latin letters of both widths, Greek and the marks; digits are no longer there once OpenJTalk has read them.
_UNREADABLE = re.compile(
    r"[^\u3040-\u30ff\u4e00-\u9fff\u3400-\u4dbf\u3005A-Za-z\uff21-\uff3a\uff41-\uff5a\u0370-\u03ff\u1f00-\u1fff,.!?:;'…]+"
)
_DIGITS = re.compile("[０-９]+")
_NOUGHTS = re.compile("０+")
# Where both readings are good Japanese, that of the release's dictionary is taken.
_REFERENCE_READINGS = {"日本": "ニッポン", "他の": "タノ"}
_SPELLED_Z = re.compile("[ａ-ｚＡ-Ｚ]*[ｚＺ][ａ-ｚＡ-Ｚ]*")
_REPEAT_SIGNS = frozenset("々ゝヽゞヾ゛")
_KATAKANA = re.compile(r"[\u30a0-\u30ff]+")

# OpenJTalk works in a fixed buffer; a longer text is read in parts.
_LONGEST_PART = 300
_PART_END = re.compile(r"[。！？!?．.\n、,，]")

_lock = threading.Lock()


def _parts(text: str) -> list[str]:
    """The text in parts short enough for OpenJTalk, cut behind a mark where there is one."""
    parts = []
    while len(text) > _LONGEST_PART:
        cut = max((match.end() for match in _PART_END.finditer(text, 0, _LONGEST_PART)), default=_LONGEST_PART)
        parts.append(text[:cut])
        text = text[cut:]
    return [*parts, text]


@functools.cache
def _openjtalk():
    # On import it prints a remark about an optional package, which has no place before the JSON of the command line.
    with contextlib.redirect_stdout(io.StringIO()):
        return require("pyopenjtalk")


@functools.cache
def _sudachi():
    return require("sudachipy").Dictionary().tokenizer()


def _read_by_sudachi(word: str) -> str:
    """Katakana of a word, or nothing."""
    with _lock:
        kana = "".join(morpheme.reading_form() for morpheme in _sudachi().tokenize(word))
    return kana if _KATAKANA.fullmatch(kana) else ""


def _marks(word: str) -> str:
    return _UNREADABLE.sub("", _MARK.sub(lambda match: _MARK_NAMES[match.group()], word))


def _katakana(text: str) -> tuple[list[str], list[str]]:
    """(katakana or a mark, for each word) of a part, and the words that have none."""
    with _lock:
        parsed = _openjtalk().run_frontend(text, use_vanilla=True)
    kana, dropped = [], []
    skip = False
    for i, word in enumerate(parsed):
        if skip:
            skip = False
            continue
        surface = word["string"]
        if i + 1 < len(parsed) and parsed[i + 1]["string"] in _REPEAT_SIGNS:
            surface, skip = surface + parsed[i + 1]["string"], True
        reading = _REFERENCE_READINGS.get(surface) or word["pron"].replace("’", "")
        if _SPELLED_Z.fullmatch(surface):
            reading = reading.replace("ゼット", "ズィー")
        # A nought that is read as a digit is not spoken by the reference.
        surface = _NOUGHTS.sub("", surface) if _DIGITS.fullmatch(surface) else _marks(surface)
        if not surface:
            dropped += [char for char in word["string"] if not is_silent(char)]
            continue
        if not _KATAKANA.fullmatch(reading):
            reading = surface if surface in MARKS else _read_by_sudachi(surface)
        if reading:
            kana.append(reading)
        else:
            dropped.append(surface)
    return kana, dropped


def phonemes(text: str) -> tuple[str, list[str]]:
    """Symbols of a Japanese text, and what could not be spoken."""
    text = re.sub(r"\s+", "", text.strip().strip("'"))
    kana, dropped = [], []
    for part in _parts(text):
        readings, missing = _katakana(part) if part else ([], [])
        kana += readings
        dropped += missing
    return phones(kana), dropped

"""English text to the reference's symbols (models/tts/maskgct/g2p/g2p/english.py): expand, read, rename.

The reference's readings are kept where they change the output, odd ones included, since the released weights were
trained on them: "St" is always "saint", pounds follow the number, cents are read after a comma, and an apostrophe is a
mark of its own.  `tests/text/test_english.py` has one line for each.
"""

import functools
import re

from metis_jax.text import espeak
from metis_jax.text.errors import require

_ABBREVIATIONS = {
    "mrs": "misess",
    "mr": "mister",
    "dr": "doctor",
    "st": "saint",
    "co": "company",
    "jr": "junior",
    "maj": "major",
    "gen": "general",
    "drs": "doctors",
    "rev": "reverend",
    "lt": "lieutenant",
    "hon": "honorable",
    "sgt": "sergeant",
    "capt": "captain",
    "esq": "esquire",
    "ltd": "limited",
    "col": "colonel",
    "ft": "fort",
    "etc": "et cetera",
    "btw": "by the way",
}
_ABBREVIATION = re.compile(rf"\b({'|'.join(_ABBREVIATIONS)})\b", re.IGNORECASE)

_GROUPED = re.compile(r"[0-9][0-9,]+[0-9]")
_POUNDS = re.compile(r"£([0-9,]*[0-9]+)")
_DOLLARS = re.compile(r"\$([0-9.,]*[0-9]+)")
_FRACTION = re.compile(r"(?<![0-9])([0-9]+)/([0-9]+)")
_DECIMAL = re.compile(r"(?<![0-9])[0-9]+\.[0-9]+")
_PERCENT = re.compile(r"(?<=[0-9])%")
_ORDINAL = re.compile(r"(?<![0-9])[0-9]+(?:st|nd|rd|th)")
_NUMBER = re.compile(r"[0-9]+")

# Applied in this order, each until nothing changes: espeak's symbols to those of the table.
RENAMED = (
    ("t|ɹ", "tɹ"),
    ("d|ɹ", "dɹ"),
    ("t|s", "ts"),
    ("d|z", "dz"),
    ("ɪ|ɹ", "ɪɹ"),
    ("ɐ", "ɚ"),
    ("ᵻ", "ɪ"),
    ("əl", "l"),
    ("x", "k"),
    ("ɬ", "l"),
    ("ʔ", "t"),
    ("n̩", "n"),
    ("oː|ɹ", "oːɹ"),
)
_RENAMES = tuple((re.compile(rf"(^|[_|]){re.escape(old)}(?=[_|]|$)"), new) for old, new in RENAMED)

# An English passage that ends in one of these characters ends in a word boundary, except at the end of the text.
_ENDS_WORD = frozenset("p⁼ʰmftnlkxʃs`ɹaoəɛɪeɑʊŋiuɥwæjː")

# Far beyond what has a name; such a run of digits is read digit by digit.
_LONGEST_NAMED_NUMBER = 33


@functools.cache
def _engine():
    return require("inflect").engine()


def _words(number: str | int, **how) -> str:
    """A whole number or an ordinal such as `21st` in words."""
    digits = re.sub(r"[^0-9]", "", str(number))
    if len(digits) > _LONGEST_NAMED_NUMBER:
        return " ".join(map(_named, digits))
    return _named(number, **how)


@functools.lru_cache(maxsize=4096)
def _named(number: str | int, **how) -> str:
    return _engine().number_to_words(number, **how)


def _dollars(match: re.Match[str]) -> str:
    amount = match.group(1)
    parts = amount.split(".")
    if len(parts) > 2:
        return f" {amount} dollars "
    dollars = parts[0].replace(",", "").lstrip("0")
    cents = parts[1].replace(",", "").lstrip("0") if len(parts) == 2 else ""
    dollar_unit = "dollar" if dollars == "1" else "dollars"
    cent_unit = "cent" if cents == "1" else "cents"
    if dollars and cents:
        return f" {dollars} {dollar_unit}, {cents} {cent_unit} "
    if dollars:
        return f" {dollars} {dollar_unit} "
    if cents:
        return f" {cents} {cent_unit} "
    return " zero dollars "


def _fraction(match: re.Match[str]) -> str:
    numerator, denominator = (digits.lstrip("0") or "0" for digits in match.groups())
    if numerator == "1" and denominator in ("2", "4"):
        return " one half " if denominator == "2" else " one quarter "
    if denominator in ("2", "4"):
        return f" {_words(numerator)} {'halves' if denominator == '2' else 'quarters'} "
    return f" {_words(numerator)} {_engine().ordinal(_words(denominator))} "


def _number(match: re.Match[str]) -> str:
    """Four digits between 1001 and 2999 are read as years are, other numbers as amounts."""
    digits = match.group().lstrip("0") or "0"
    value = int(digits) if len(digits) == 4 else 0
    if not 1000 < value < 3000:
        return f" {_words(digits, andword='')} "
    if value == 2000:
        return " two thousand "
    if 2000 < value < 2010:
        return f" two thousand {_words(value % 100)} "
    if value % 100 == 0:
        return f" {_words(value // 100)} hundred "
    pairs = _words(value, andword="", zero="oh", group=2)
    return f" {pairs.replace(', ', ' ')} "


def normalise(text: str) -> str:
    """Abbreviations, money, fractions, percentages, ordinals and numbers as words."""
    text = _ABBREVIATION.sub(lambda match: _ABBREVIATIONS[match.group().casefold()], text)
    text = _GROUPED.sub(lambda match: match.group().replace(",", ""), text)
    text = _POUNDS.sub(r"\1 pounds", text)
    text = _DOLLARS.sub(_dollars, text)
    text = _FRACTION.sub(_fraction, text)
    text = _DECIMAL.sub(lambda match: match.group().replace(".", " point "), text)
    text = _PERCENT.sub(" percent ", text)
    text = _ORDINAL.sub(lambda match: f" {_words(match.group())} ", text)
    return _NUMBER.sub(_number, text)


def _rename(phonemes: str) -> str:
    for pattern, new in _RENAMES:
        while pattern.search(phonemes):
            phonemes = pattern.sub(rf"\1{new}", phonemes)
    return phonemes


def phonemes(text: str) -> tuple[str, list[str]]:
    """Symbols of an English passage, and the characters that could not be spoken."""
    spoken, dropped = espeak.phonemes(normalise(text), "en")
    if spoken and spoken[-1] in _ENDS_WORD:
        spoken += "|_"
    return _rename(spoken), dropped

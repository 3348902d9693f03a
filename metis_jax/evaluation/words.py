"""Word and character error rates: text reduced to what is spoken, and the edit distance between two sequences."""

import dataclasses
import functools
import unicodedata
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from metis_jax.evaluation.errors import Unmeasurable, require

# Written without spaces, or with spaces that writers and recognisers place as they please.
CHARACTER_LANGUAGES = ("zh", "ja", "ko")


@dataclasses.dataclass(frozen=True)
class ErrorRate:
    """Edits over the length of the reference.  Pooled over files, edits and lengths are summed before dividing."""

    edits: int
    length: int

    @property
    def rate(self) -> float:
        return self.edits / self.length


def normalize(text: str) -> str:
    """Lower-case letters and digits of any script with single spaces; apostrophes inside words stay."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LNM" else " " for c in text)
    return " ".join(word for word in (word.strip("'") for word in kept.split()) if word)


def spoken(text: str, language: str) -> str:
    """What is compared: `normalize`, and for "en" Whisper's rules for English (the package whisper-normalizer).

    Those write numbers in digits, titles and contractions in full and spelling as in America, and leave out what
    stands in brackets.  In other languages "6" and "sechs" stay different words.
    """
    if language != "en":
        return normalize(text)
    words = _english()(text.replace("\u2019", "'")).split()
    return " ".join(word for word in words if any(map(str.isalnum, word)))


@functools.cache
def _english() -> Callable[[str], str]:
    return require("whisper_normalizer.english").EnglishTextNormalizer()


def edit_distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """Fewest substitutions, insertions and deletions that turn one sequence into the other (Levenshtein)."""
    row = np.arange(len(hypothesis) + 1)
    steps = np.arange(len(hypothesis) + 1)
    for i, item in enumerate(reference, start=1):
        substituted = row[:-1] + np.array([item != other for other in hypothesis], dtype=row.dtype)
        best = np.concatenate([[i], np.minimum(substituted, row[1:] + 1)])
        # An insertion extends the cell at its left by one: a running minimum once the slope is taken away.
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


def word_errors(reference: str, hypothesis: str, *, language: str) -> ErrorRate:
    """Edits between the spoken words, or characters in `CHARACTER_LANGUAGES`."""
    if language in CHARACTER_LANGUAGES:
        return character_errors(reference, hypothesis, language=language)
    return _errors(*(spoken(text, language).split() for text in (reference, hypothesis)))


def character_errors(reference: str, hypothesis: str, *, language: str) -> ErrorRate:
    """Edits between the spoken characters without spaces."""
    return _errors(*(list(spoken(text, language).replace(" ", "")) for text in (reference, hypothesis)))


def _errors(reference: list[str], hypothesis: list[str]) -> ErrorRate:
    if not reference:
        raise Unmeasurable("the reference text has no words")
    return ErrorRate(edit_distance(reference, hypothesis), len(reference))

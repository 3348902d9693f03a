"""Word and character error rates: text reduced to what is spoken, and the edit distance between two sequences."""

import dataclasses
import unicodedata
from collections.abc import Sequence

import numpy as np

from metis_jax.evaluation.errors import Unmeasurable


@dataclasses.dataclass(frozen=True)
class ErrorRate:
    """Edits over the length of the reference.  Pooled over files, edits and lengths are summed before dividing."""

    edits: int
    length: int

    @property
    def rate(self) -> float:
        return self.edits / self.length


def normalize(text: str) -> str:
    """Lower-case letters and digits of any script with single spaces; apostrophes inside words stay.

    Numbers are not spelled out: "6" and "six" count as different words.
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LNM" else " " for c in text)
    return " ".join(word for word in (word.strip("'") for word in kept.split()) if word)


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Fewest substitutions, insertions and deletions that turn one sequence into the other (Levenshtein)."""
    row = np.arange(len(hypothesis) + 1)
    steps = np.arange(len(hypothesis) + 1)
    for i, item in enumerate(reference, start=1):
        substituted = row[:-1] + np.array([item != other for other in hypothesis], dtype=row.dtype)
        best = np.concatenate([[i], np.minimum(substituted, row[1:] + 1)])
        # An insertion extends the cell at its left by one: a running minimum once the slope is taken away.
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


def word_errors(reference: str, hypothesis: str) -> ErrorRate:
    """Edits between the normalized words."""
    return _errors(normalize(reference).split(), normalize(hypothesis).split())


def character_errors(reference: str, hypothesis: str) -> ErrorRate:
    """Edits between the normalized characters without spaces, which suits languages that write none."""
    return _errors(list(normalize(reference).replace(" ", "")), list(normalize(hypothesis).replace(" ", "")))


def _errors(reference: list[str], hypothesis: list[str]) -> ErrorRate:
    if not reference:
        raise Unmeasurable("the reference text has no words")
    return ErrorRate(edit_distance(reference, hypothesis), len(reference))

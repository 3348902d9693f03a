"""A user's own pronunciations, which win over every rule of every language."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from metis_jax.text import vocabulary
from metis_jax.text.errors import TextError

Read = Callable[[str], tuple[str, list[str]]]

_WITHOUT_SPACES = ("zh", "ja")
_MARKS = frozenset(",.?!:;'…")


class Lexicon:
    """Words and their phonemes.  Letters match in any case, and in languages with spaces only as whole words."""

    def __init__(self, words: Mapping[str, str]):
        self._words: dict[str, str] = {}
        for word, phonemes in words.items():
            if not isinstance(word, str) or not word.strip():
                raise TextError(f"lexicon: {word!r} is not a word")
            try:
                vocabulary.encode_strictly(str(phonemes))
            except TextError as error:
                raise TextError(f"lexicon, word {word!r}: {error}") from None
            self._words[word.strip().casefold()] = vocabulary.SEPARATOR.join(vocabulary.split(phonemes))
        # The longest word first, so that a word inside another does not win.
        found = "|".join(re.escape(word.strip()) for word in sorted(words, key=len, reverse=True))
        self._anywhere = re.compile(f"({found})", re.IGNORECASE) if found else None
        self._whole_words = re.compile(rf"(?<!\w)({found})(?!\w)", re.IGNORECASE) if found else None

    @classmethod
    def from_file(cls, path: str | Path) -> "Lexicon":
        """From a JSON object `{"word": "p|h|o|n"}`, or from lines of `word<TAB>p|h|o|n`."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TextError(f"lexicon: can not read {path}: {error}") from None
        if path.suffix == ".json":
            try:
                words = json.loads(text)
            except json.JSONDecodeError as error:
                raise TextError(f"lexicon: {path} is not JSON: {error}") from None
            if not isinstance(words, dict):
                raise TextError(f'lexicon: {path} should hold one object, {{"word": "p|h|o|n"}}')
            return cls(words)
        words = {}
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            word, tab, phonemes = line.partition("\t")
            if not tab:
                raise TextError(f"lexicon: {path}, line {number}: expected a word, a tab and its phonemes")
            words[word] = phonemes
        return cls(words)

    def read_around(self, text: str, language: str, read: Read) -> tuple[str, list[str]]:
        """The text read by `read`, except for the words that are in here."""
        pattern = self._anywhere if language in _WITHOUT_SPACES else self._whole_words
        if pattern is None or not pattern.search(text):
            return read(text)
        boundary = "|" if language in _WITHOUT_SPACES else "|_|"
        spoken, dropped = "", []
        for index, part in enumerate(pattern.split(text)):
            if index % 2 and part.casefold() in self._words:
                phonemes = self._words[part.casefold()]
            elif part.strip():
                phonemes, missing = read(part)
                dropped += missing
            else:
                continue
            spoken = _join(spoken, phonemes, boundary)
        return spoken, dropped


def _join(before: str, after: str, boundary: str) -> str:
    """Two readings as one, with a word boundary between them unless a mark or a boundary is there already."""
    before, after = before.rstrip("|"), after.strip("|")
    if not before or not after:
        return before or after
    at_border = {before.rpartition("|")[2], after.partition("|")[0]}
    return before + ("|" if at_border & (_MARKS | {vocabulary.WORD_BOUNDARY}) else boundary) + after

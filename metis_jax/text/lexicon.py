"""A user's own pronunciations, which win over every rule of every language."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from metis_jax.files.inputs import InputError, parse_json
from metis_jax.files.text_files import read_text
from metis_jax.text import vocabulary
from metis_jax.text.errors import TextError
from metis_jax.text.forms import one_form

Read = Callable[[str], tuple[str, list[str]]]

# Where one of these stands beside a word that begins or ends in one, it is another word.
_LETTER = "A-Za-z\u00c0-\u024f"
_MARKS = frozenset(",.?!:;'…")


class Lexicon:
    """Words and their phonemes.  Letters match in any case; Latin words only whole, all others anywhere."""

    def __init__(self, words: Mapping[str, str]):
        self._words: dict[str, str] = {}
        for word, phonemes in words.items():
            if not isinstance(word, str) or not one_form(word).strip():
                raise TextError(f"lexicon: {word!r} is not a word")
            try:
                vocabulary.encode_strictly(str(phonemes))
            except TextError as error:
                raise TextError(f"lexicon, word {word!r}: {error}") from None
            self._words[_key(word)] = vocabulary.SEPARATOR.join(vocabulary.split(phonemes))
        # The longest word first, so that a word inside another does not win.
        found = "|".join(map(_pattern, sorted((one_form(word).strip() for word in words), key=len, reverse=True)))
        self._pattern = re.compile(f"({found})", re.IGNORECASE) if found else None

    @classmethod
    def from_file(cls, path: str | Path) -> "Lexicon":
        """From a JSON object `{"word": "p|h|o|n"}`, or from lines of `word<TAB>p|h|o|n`."""
        path = Path(path)
        try:
            text = read_text(path)
        except InputError as error:
            raise TextError(f"lexicon: {error}") from None
        if path.suffix == ".json":
            try:
                words = parse_json(text, f"lexicon: {path}")
            except InputError as error:
                raise TextError(str(error)) from None
            if not isinstance(words, dict):
                raise TextError(f'lexicon: {path} should hold one object, {{"word": "p|h|o|n"}}')
            return cls(words)
        words = {}
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            word, tab, phonemes = line.partition("\t")
            if not tab:
                raise TextError(f"lexicon: {path}, line {number}: expected a word, a tab and its phonemes")
            words[word] = phonemes
        return cls(words)

    def read_around(self, text: str, read: Read) -> tuple[str, list[str]]:
        """The text read by `read`, except for the words that are in here."""
        if self._pattern is None or not self._pattern.search(text):
            return read(text)
        spoken, dropped, spaced = "", [], False
        for index, part in enumerate(self._pattern.split(text)):
            if index % 2 and _key(part) in self._words:
                phonemes = self._words[_key(part)]
            elif part.strip():
                phonemes, missing = read(part)
                dropped += missing
            else:
                spaced = spaced or bool(part)
                continue
            spoken = _join(spoken, phonemes, spaced or part[0].isspace())
            spaced = part[-1].isspace()
        return spoken, dropped


def _key(word: str) -> str:
    return one_form(word).strip().casefold()


def _pattern(word: str) -> str:
    """A regular expression for one word."""
    before = rf"(?<![{_LETTER}])" if re.match(f"[{_LETTER}]", word) else ""
    after = rf"(?![{_LETTER}])" if re.search(f"[{_LETTER}]$", word) else ""
    return before + re.escape(word) + after


def _join(before: str, after: str, spaced: bool) -> str:
    """Two readings as one; a space between them is a word boundary, unless a mark or a boundary is there already."""
    before, after = before.rstrip("|"), after.strip("|")
    if not before or not after:
        return before or after
    at_border = {before.rpartition("|")[2], after.partition("|")[0]}
    return before + ("|_|" if spaced and not at_border & (_MARKS | {vocabulary.WORD_BOUNDARY}) else "|") + after

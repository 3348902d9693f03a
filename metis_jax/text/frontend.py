"""Text in six languages to the phoneme ids that the released TTS weights expect.

Follows the reference's `g2p_` (models/tts/maskgct/maskgct_utils.py): Chinese and English texts are cut into passages of
either language, the other four are read whole.  Phoneme strings and ids are equal to the reference's for every sentence
under tests/golden/g2p.json; docs/text.md has the differences that remain.
"""

import dataclasses
import functools
import importlib
import logging
import re
from collections.abc import Mapping, Sequence

from metis_jax.text import espeak, languages, vocabulary
from metis_jax.text.errors import TextError
from metis_jax.text.forms import one_form
from metis_jax.text.lexicon import Lexicon

_log = logging.getLogger(__name__)

LONGEST = 100_000  # characters, about two hours; the worst of them take some tenths of a millisecond each

# A hyphen is silent, and a sign is not; Chinese and Japanese say it.
_MINUS = re.compile(r"(?<![\w.,)\]])[-–](?=[0-9])")

_MODULES = {
    "en": "english",
    "zh": "mandarin",
    "de": "german",
    "fr": "french",
    "ko": "korean",
    "ja": "japanese",
}


@dataclasses.dataclass(frozen=True)
class Reading:
    """A text as it will be spoken.

    Attributes:
      phonemes: symbols joined by `|`, as the reference prints them.
      ids: their ids; symbols outside the table have none.
      language: the language it was read in.
      unsupported: characters that could not be read and were left out, each once.
      without_id: symbols that the table does not have, each once; the reference drops them too (German `ɔø`).
    """

    phonemes: str
    ids: tuple[int, ...]
    language: str
    unsupported: tuple[str, ...] = ()
    without_id: tuple[str, ...] = ()


class TextFrontEnd:
    """Reads text aloud on paper.

    Args:
      lexicon: words whose phonemes the user sets; they win over every other rule.
      han: the language of a text in Han characters alone when the language is detected, "zh" or "ja".
    """

    def __init__(self, lexicon: Lexicon | Mapping[str, str] | None = None, *, han: str = "zh"):
        self.lexicon = lexicon if isinstance(lexicon, Lexicon) else Lexicon(lexicon or {})
        self.han = han
        self._reported: set[str] = set()

    def read(self, text: str, language: str = languages.AUTO) -> Reading:
        """Phonemes and ids of a text."""
        languages.check_language(language)
        if len(text) > LONGEST:
            raise TextError(
                f"text: it has {len(text)} characters; at most {LONGEST} are read at once, give it in parts"
            )
        text = one_form(text)
        if not text.strip():
            raise TextError("text: it is empty; give at least one word")
        if language == languages.AUTO:
            language = languages.detect(text, self.han)

        if language in ("zh", "en"):
            read = functools.partial(_read_passages, language=language)
        else:
            read = functools.partial(_read_words, language=language)
        phonemes, dropped = self.lexicon.read_around(text, read)
        ids, without_id = vocabulary.encode(phonemes)
        unsupported = tuple(dict.fromkeys(dropped))
        self._report(unsupported, language)
        return Reading(phonemes, tuple(ids), language, unsupported, tuple(without_id))

    def _report(self, unsupported: Sequence[str], language: str) -> None:
        new = [what for what in unsupported if what not in self._reported]
        if new:
            self._reported.update(new)
            _log.warning("left out, not readable as %r: %s", language, " ".join(new))


def _read_words(text: str, language: str) -> tuple[str, list[str]]:
    """Symbols of a text in one language, and the characters that could not be spoken."""
    spoken, dropped = importlib.import_module(f"metis_jax.text.{_MODULES[language]}").phonemes(text)
    is_silent = language in espeak.VOICES and _MINUS.search(text)
    return spoken, [*dropped, "-"] if is_silent else dropped


def _read_passages(text: str, language: str) -> tuple[str, list[str]]:
    """Chinese and English passages one after the other, each closed by `|`."""
    spoken, dropped, last = "", [], language
    for passage, last in languages.chinese_and_english(text, otherwise=language):
        phonemes, missing = _read_words(passage, last)
        spoken += phonemes + vocabulary.SEPARATOR
        dropped += missing
    return (spoken.removesuffix("_|") if last == "en" else spoken), dropped


def ids_of(phonemes: str) -> tuple[int, ...]:
    """Ids of phonemes given directly, e.g. `h|ə|l|oʊ|.`."""
    return tuple(vocabulary.encode_strictly(phonemes))

"""Which language a text is in, and which parts of a Chinese or English text are in the other of the two."""

import functools
import re
from collections.abc import Iterator

from metis_jax.text.errors import TextError, require

LANGUAGES = ("en", "zh", "de", "fr", "ko", "ja")
AUTO = "auto"

_KANA = re.compile(r"[\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d]")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]")
_HAN = re.compile(r"[\u3007\u3400-\u9fff\uf900-\ufaff]")

# What the reference calls Chinese and English when it cuts a mixed text; all else goes with what stands before it.
_CHINESE = re.compile(r"[\u3007\u4e00-\u9fa5]")
_LATIN = re.compile(r"[A-Za-z]")


def check_language(language: str) -> str:
    """The language code, or an error that names the ones there are."""
    if language not in LANGUAGES and language != AUTO:
        raise TextError(f"language: {language!r} is not known; use one of {', '.join(LANGUAGES)} or {AUTO}")
    return language


@functools.cache
def _identifier():
    langid = require("py3langid.langid")
    load = getattr(langid.LanguageIdentifier, "from_model_file", None) or langid.LanguageIdentifier.from_pickled_model
    identifier = load(langid.MODEL_FILE)
    identifier.set_languages(["en", "de", "fr"])
    return identifier


def detect(text: str, han: str = "zh") -> str:
    """The language of a text: by script where script decides, by letter statistics among en, de and fr.

    Han alone may be Chinese or Japanese, which no statistics can tell: `han` says which.
    """
    if _KANA.search(text):
        return "ja"
    if _HANGUL.search(text):
        return "ko"
    if _HAN.search(text):
        return han
    if not _LATIN.search(text):
        return "en"
    return _identifier().classify(text)[0]


def _script(char: str) -> str | None:
    if _CHINESE.match(char):
        return "zh"
    return "en" if _LATIN.match(char) else None


def chinese_and_english(text: str, otherwise: str) -> Iterator[tuple[str, str]]:
    """(passage, language) of a text in Chinese and English.

    Digits and marks belong to the passage before them, at the start of the text to the one after; a text of nothing
    else is in the language `otherwise`.
    """
    start, language = 0, None
    for position, char in enumerate(text):
        script = _script(char)
        if script is None or script == language:
            continue
        if language is not None:
            yield text[start:position], language
            start = position
        language = script
    yield text[start:], language or otherwise

"""Punctuation of all six languages brought to the eight marks that the phoneme table knows."""

import re
import unicodedata

_FULL_WIDTH = str.maketrans("，。！？；：、‘’⋯", ",.!?;:,''…")


def ascii_punctuation(text: str) -> str:
    """Chinese and typographic marks as the ASCII ones, and three dots as one ellipsis."""
    text = text.translate(_FULL_WIDTH)
    for dots in ("···", "・・・", "..."):
        text = text.replace(dots, "…")
    return text


def is_silent(char: str) -> bool:
    """Whether nobody would expect to hear the character: punctuation, space, control and format characters."""
    return unicodedata.category(char)[0] in "PZC" or char in "`^~´¨"


def dropped_by(pattern: re.Pattern[str], text: str) -> list[str]:
    """The distinct audible characters that a removal pattern takes out of the text, in order."""
    found = dict.fromkeys("".join(pattern.findall(text)))
    return [char for char in found if not is_silent(char)]

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


# Unicode counts them as punctuation, and people say them.
_SAID = frozenset("&@#%*/\\§¶‰‱†‡＆＠＃％＊／＼")


def is_silent(char: str) -> bool:
    """Whether nobody would expect to hear the character: punctuation, space, control and format characters."""
    return char in "`^~´¨" or unicodedata.category(char)[0] in "PZC" and char not in _SAID


def dropped_by(pattern: re.Pattern[str], text: str) -> list[str]:
    """The distinct audible characters that a removal pattern takes out of the text, in order."""
    found = dict.fromkeys("".join(pattern.findall(text)))
    return [char for char in found if not is_silent(char)]


def without(pattern: re.Pattern[str], text: str) -> str:
    """The text without what a pattern of single characters matches; what is audible of it leaves a space.

    The words on its two sides stay apart then: "AT&T" is not "att".
    """
    return pattern.sub(lambda match: "" if is_silent(match[0]) or unicodedata.combining(match[0]) else " ", text)

"""One form of every character, whatever system, keyboard or document a text comes from."""

import re
import unicodedata


class _Forms(dict):
    """What replaces a character, by its code; itself for almost all."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        kind = unicodedata.decomposition(char).partition(" ")[0]
        if (digit := unicodedata.decimal(char, None)) is not None:
            char = str(digit)
        elif kind in ("<wide>", "<font>") and char.isalnum() or kind == "<compat>" and char.islower():
            char = unicodedata.normalize("NFKC", char)
        self[code] = char
        return char


_FORMS = _Forms()
_HALF_PAIR = re.compile("[\ud800-\udfff]")


def one_form(text: str) -> str:
    """Accents and syllables composed (macOS writes them apart), digits of every script as 0 to 9, and letters of full
    width, of mathematics and of ligatures as plain ones.

    Half of a surrogate pair is no character, and no library takes one: it becomes the sign that stands for such (�),
    which is reported as left out.
    """
    text = _HALF_PAIR.sub("\ufffd", text)
    return unicodedata.normalize("NFC", text.translate(_FORMS))

"""One form of every character, whatever system, keyboard or document a text comes from."""

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


def one_form(text: str) -> str:
    """Accents and syllables composed (macOS writes them apart), digits of every script as 0 to 9, and letters of full
    width, of mathematics and of ligatures as plain ones.

    Half of a surrogate pair is no character, and is left out: no library takes one.
    """
    text = text.encode("utf-8", "ignore").decode("utf-8")
    return unicodedata.normalize("NFC", text.translate(_FORMS))

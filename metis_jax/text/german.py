"""German text to the reference's symbols (models/tts/maskgct/g2p/g2p/german.py); numbers are left to espeak-ng.

The reference removes typographic apostrophes and reads every dollar sign and line break as a full stop; so do we.
"""

import re

from metis_jax.text import espeak

# Marks of other scripts, brackets and quotes; the French reading uses the same table.
_MARKS = str.maketrans(
    {
        **dict.fromkeys("：；，·、", ","),
        **dict.fromkeys("。…$\n", "."),
        **dict.fromkeys("“”‘’（）()《》【】[]—「」¿¡", ""),
        **dict.fromkeys("～~", "-"),
        "！": "!",
        "？": "?",
    }
)
_QUOTES = re.compile(r'[<>()\[\]"«»]+')
_LEADING_MARKS = re.compile(r"^[,.!?]+")


def european_marks(text: str) -> str:
    """Punctuation as German and French share it; hyphens become spaces, colons and semicolons commas."""
    text = text.replace("...", ".").translate(_MARKS)
    return text.replace(";", ",").replace("-", " ").replace(":", ",")


def trim(text: str) -> str:
    """Without quotes, leading marks and runs of white space."""
    text = _LEADING_MARKS.sub("", _QUOTES.sub("", text))
    return " ".join(text.split())


def normalise(text: str) -> str:
    """Punctuation only."""
    return trim(european_marks(text))


def phonemes(text: str) -> tuple[str, list[str]]:
    """Symbols of a German text, and the characters that could not be spoken."""
    return espeak.phonemes(normalise(text), "de")

"""French text to the reference's symbols (models/tts/maskgct/g2p/g2p/french.py): abbreviations, then espeak-ng.

An abbreviation counts only with its full stop, in any case of letters, and the stop goes with it; four titles are
also read without one.  The dots inside an abbreviation stand for any character, as they do in the reference.
"""

import re

from metis_jax.text import espeak
from metis_jax.text.german import european_marks, trim

# The order is part of the behaviour: "av." is an avenue before "av. J.-C." could be an era.
_WITH_STOP = (
    ("M", "monsieur"),
    ("Mlle", "mademoiselle"),
    ("Mlles", "mesdemoiselles"),
    ("Mme", "Madame"),
    ("Mmes", "Mesdames"),
    ("N.B", "nota bene"),
    ("p.c.q", "parce que"),
    ("Pr", "professeur"),
    ("qqch", "quelque chose"),
    ("rdv", "rendez-vous"),
    ("max", "maximum"),
    ("min", "minimum"),
    ("no", "numéro"),
    ("adr", "adresse"),
    ("dr", "docteur"),
    ("st", "saint"),
    ("co", "companie"),
    ("jr", "junior"),
    ("sgt", "sergent"),
    ("capt", "capitain"),
    ("col", "colonel"),
    ("av", "avenue"),
    ("av. J.-C", "avant Jésus-Christ"),
    ("apr. J.-C", "après Jésus-Christ"),
    ("art", "article"),
    ("boul", "boulevard"),
    ("c.-à-d", "c’est-à-dire"),
    ("etc", "et cetera"),
    ("ex", "exemple"),
    ("excl", "exclusivement"),
)
_WITHOUT_STOP = (
    ("Mlle", "mademoiselle"),
    ("Mme", "Madame"),
)
_ABBREVIATIONS = tuple((re.compile(rf"\b{short}\.", re.IGNORECASE), long) for short, long in _WITH_STOP) + tuple(
    (re.compile(rf"\b{short}"), long) for short, long in _WITHOUT_STOP
)


def normalise(text: str) -> str:
    """Abbreviations as words, then punctuation."""
    for pattern, long in _ABBREVIATIONS:
        text = pattern.sub(long, text)
    return trim(european_marks(text).replace("&", " et "))


def phonemes(text: str) -> tuple[str, list[str]]:
    """Symbols of a French text, and the characters that could not be spoken."""
    return espeak.phonemes(normalise(text), "fr")

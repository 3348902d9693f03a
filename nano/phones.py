"""English text to stressed espeak phones, to the letters that the speaking models read, and to our phoneme table.

The models were trained on the alphabet of misaki (their authors' front end, Apache-2.0), which has a fallback from
espeak; `letters` is that mapping, one espeak phone at a time, so that durations of letters add up to durations of
phones.  `in_table` then renames and joins phones as `metis_jax.text.english` does.  Apostrophes and hyphens are read
as a person does, not as marks, which is where these phones part from those of `metis_jax.text`.
"""

import functools
import re
from collections.abc import Sequence

import numpy as np

from metis_jax.text import english, espeak, vocabulary

MARKS = ",.?!;:…"
_STRESS = str.maketrans("", "", "ˈˌ")
_SONORANTS = frozenset("aeiouæɑɔəɛɜɪʊʌɚɐᵻlɹmnŋ")

# In this order; the longer ones come before their parts.
_LETTERS = (
    ("ʔ", "t"),
    ("n̩", "ᵊn"),
    ("aɪ", "I"),
    ("aʊ", "W"),
    ("eɪ", "A"),
    ("oʊ", "O"),
    ("ɔɪ", "Y"),
    ("dʒ", "ʤ"),
    ("tʃ", "ʧ"),
    ("əl", "ᵊl"),
    ("ɚ", "əɹ"),
    ("ɜː", "ɜɹ"),
    ("ɐ", "ə"),
    ("r", "ɹ"),
    ("x", "k"),
    ("ɬ", "l"),
    ("ɾ", "T"),
    ("ː", ""),
    ("\u0303", ""),
    ("e", "A"),
    ("o", "ɔ"),
)


@functools.cache
def _backend():
    # The library and its voices come from the wheel that the text front end found.
    espeak.version()
    from phonemizer.backend import EspeakBackend

    return EspeakBackend(
        "en-us",
        punctuation_marks=MARKS,
        preserve_punctuation=True,
        with_stress=True,
        language_switch="remove-flags",
        words_mismatch="ignore",
    )


def read(text: str) -> list[str]:
    """Phones with stress marks, `_` between words, and the marks; after a mark there is no `_`."""
    from phonemizer.separator import Separator

    line = " ".join(english.normalise(text).replace("-", " ").split())
    line = re.sub(rf"\s*([{MARKS}])\s*", r"\1", line)
    spoken = _backend().phonemize([line], separator=Separator(word="|_|", syllable="-", phone="|"), strip=True)[0]
    spoken = re.sub(rf"([{MARKS}])", r"|\1|", spoken)
    return [phone for phone in spoken.split("|") if phone]


def letters(phones: Sequence[str]) -> list[str]:
    """What the speaking models read for each phone: one letter or more."""
    out = []
    for phone in phones:
        for old, new in _LETTERS:
            phone = phone.replace(old, new)
        out.append({"_": " "}.get(phone, f"{phone} " if phone in MARKS else phone))
    if out:
        out[-1] = out[-1].rstrip()
    return out


def _floor_db(phone: str) -> float:
    """How far under the loud parts a phone ends: some voices breathe out louder than others say an f."""
    return 28.0 if phone.rstrip("ː\u0329")[-1] in _SONORANTS else 38.0


def bounds(wave: np.ndarray, starts: np.ndarray, phones: Sequence[str], rate: int, *, tail: float = 0.3) -> np.ndarray:
    """Samples at which the phones begin, and where the last one ends: at most `tail` seconds after what is heard.

    The models let the phone before a pause last through it.  Here it ends with the last 10 ms in which it is heard, and
    the mark has the pause.
    """
    hop = rate // 100
    frames = wave[: len(wave) // hop * hop].reshape(-1, hop)
    level = 20 * np.log10(np.sqrt(np.mean(np.square(frames), axis=1)) + 1e-7)
    loud = np.quantile(level, 0.95)
    edges = np.append(starts, len(wave))
    for at in range(1, len(phones)):
        if phones[at] in MARKS:
            least = edges[at - 1] + rate // 50  # of the phone before the mark
            heard = np.flatnonzero(level[least // hop : edges[at + 1] // hop] > loud - _floor_db(phones[at - 1]))
            end = (least // hop + heard[-1] + 1) * hop if len(heard) else least
            edges[at] = min(edges[at], end)
    edges[-1] = min(edges[-1], edges[-2] + round(tail * rate))
    return edges


def in_table(phones: Sequence[str], durations: Sequence[float]) -> tuple[list[str], list[float]]:
    """The phones without stress as our phoneme table has them, and their durations; of joined phones the sum."""
    found = [(phone.translate(_STRESS), duration) for phone, duration in zip(phones, durations, strict=True)]
    for old, new in english.RENAMED:
        parts = old.split(vocabulary.SEPARATOR)
        renamed, at = [], 0
        while at < len(found):
            here = found[at : at + len(parts)]
            if [phone for phone, _ in here] == parts:
                renamed.append((new, sum(duration for _, duration in here)))
                at += len(parts)
            else:
                renamed.append(found[at])
                at += 1
        found = renamed
    return [phone for phone, _ in found], [duration for _, duration in found]

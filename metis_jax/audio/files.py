"""Audio files in and out: anything libsndfile reads, at any rate and channel count, and an atomic writer.

The source of a task may be hours long, so it is read, mixed down and resampled as a stream.  Every fault of a file is
an AudioError whose message is one line with the file's name.
"""

import contextlib
import dataclasses
import io
import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float

from metis_jax.audio.recordings import Recording, SoundError, open_recording
from metis_jax.audio.waves import SILENCE, AudioError, resample, write_in_pieces
from metis_jax.files.outputs import new_file

MINIMUM_SECONDS = 0.1
CLIPPED_SHARE = 1e-3  # of the samples at full scale
# Of recordings that libsndfile reads.
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64", ".sph", ".caf", ".m4a", ".aac")
# What is written, by libsndfile's names.  Of its other kinds some change the rate, and some can not be read back.
_WRITTEN = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3", ".aiff": "AIFF"}
_FULL_SCALE = 1 - 2**-14

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Wave:
    """Mono samples and their rate."""

    samples: Float[np.ndarray, " l"]
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def at(self, rate: int) -> Float[np.ndarray, " k"]:
        """The samples at another rate."""
        return resample(self.samples, self.rate, rate)


class Stream:
    """A wave in pieces, and how long it is.

    Attributes:
      seconds: of the recording, exactly, as far as its pieces were taken.
    """

    def __init__(self, timed: Iterable[tuple[Float[np.ndarray, " _"], Fraction]]):
        self._timed = timed
        self.seconds = Fraction(0)

    def __iter__(self) -> Iterator[Float[np.ndarray, " _"]]:
        for piece, seconds in self._timed:
            self.seconds += seconds
            yield piece


def check_wave(wave: Wave, name: str) -> Wave:
    """The wave, or an AudioError that says what is wrong with it."""
    if wave.samples.ndim != 1:
        raise AudioError(f"{name}: samples have shape {wave.samples.shape}; mix channels down to one axis")
    if not np.isfinite(wave.samples).all():
        raise AudioError(f"{name}: contains samples that are not finite")
    _check_heard(wave.seconds, float(np.abs(wave.samples).max(initial=0.0)), name)
    return wave


def _check_heard(seconds: float, peak: float, name: str) -> None:
    if seconds < MINIMUM_SECONDS:
        raise AudioError(f"{name}: {seconds:.3f} s of audio; at least {MINIMUM_SECONDS} s are needed")
    if peak < SILENCE:
        raise AudioError(f"{name}: is silent")


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Recording]:
    try:
        if not Path(path).exists():
            raise AudioError(f"{path}: no such file")
        if not Path(path).is_file():
            raise AudioError(f"{path}: is not a file")
        with open_recording(path) as recording:
            yield recording
    except SoundError as error:
        raise AudioError(f"{path}: {error}") from None
    except OSError as error:
        raise AudioError(f"{path}: can not be read ({error.strerror or error})") from None


def seconds(path: str | os.PathLike) -> float:
    """Duration, without decoding where the format allows."""
    with _opened(path) as recording:
        return recording.frames() / recording.rate


def _mixed_down(recording: Recording, path: str | os.PathLike) -> Iterator[Float[np.ndarray, " l"]]:
    """The averages of the channels, block by block; faults that only the whole can show are raised at its end."""
    peak, loudest, count, clipped = 0.0, 0.0, 0, 0
    for block in recording.blocks():
        mono = block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise AudioError(f"{path}: contains samples that are not finite")
        peak, loudest = max(peak, float(np.abs(mono).max())), max(loudest, float(np.abs(block).max()))
        clipped += int(np.count_nonzero(np.abs(mono) >= _FULL_SCALE))
        count += len(mono)
        yield mono
    if peak < SILENCE <= loudest:
        raise AudioError(f"{path}: is silent when its channels are averaged, for they cancel; give one of them")
    _check_heard(count / recording.rate, peak, str(path))
    # Floating-point samples may go beyond full scale without being cut off there.
    if clipped > CLIPPED_SHARE * count and peak <= 1:
        _log.warning("%s: is clipped in %.1f%% of its samples", path, 100 * clipped / count)
    if shortfall := recording.shortfall():
        _log.warning("%s: %s", path, shortfall)


def read_wave(path: str | os.PathLike, *, maximum_seconds: float = float("inf")) -> Wave:
    """A whole file, channels averaged, and checked."""
    with _opened(path) as recording:
        blocks, count = [], 0
        for block in _mixed_down(recording, path):
            blocks.append(block)
            count += len(block)
            if count > maximum_seconds * recording.rate:
                found = recording.frames() / recording.rate
                raise AudioError(f"{path}: {found:.1f} s of audio; at most {maximum_seconds:g} s are allowed here")
        return Wave(np.concatenate(blocks), recording.rate)


def stream_wave(path: str | os.PathLike, rate: int) -> Stream:
    """A file of any length at `rate`, in pieces of about ten seconds.

    Faults that only the end of the file can show (too short, silent) are raised at its end.
    """
    return Stream(_timed_pieces(path, rate))


def _timed_pieces(path: str | os.PathLike, rate: int) -> Iterator[tuple[Float[np.ndarray, " k"], Fraction]]:
    with _opened(path) as recording:
        stream = soxr.ResampleStream(recording.rate, rate, 1, dtype="float32", quality="HQ")
        for block, following in itertools.pairwise(itertools.chain(_mixed_down(recording, path), [None])):
            piece = block if rate == recording.rate else stream.resample_chunk(block, last=following is None)
            yield piece, Fraction(len(block), recording.rate)


def check_output(path: str | os.PathLike) -> Path:
    """The path, or an AudioError if no file can be written there; asked before any computing."""
    path = Path(path)
    if path.suffix.lower() not in _WRITTEN:
        raise AudioError(f"{path}: audio is not written as {path.suffix!r}; use one of {', '.join(_WRITTEN)}")
    try:
        if path.is_dir():
            raise AudioError(f"{path}: is a directory; name a file")
        if not path.parent.is_dir():
            raise AudioError(f"{path}: the directory {path.parent} does not exist")
    except OSError as error:  # a name that is too long
        raise AudioError(f"{path}: cannot be written ({error.strerror})") from None
    if not os.access(path.parent, os.W_OK):
        raise AudioError(f"{path}: the directory {path.parent} is not writable")
    return path


class WaveWriter:
    """Takes pieces of a wave; made by `write_wave`."""

    def __init__(self, file: soundfile.SoundFile):
        self._file = file
        self.seconds = 0.0

    def write(self, samples: Float[np.ndarray, " k"]) -> None:
        write_in_pieces(self._file, np.clip(samples, -1.0, 1.0))
        self.seconds += len(samples) / self._file.samplerate


def encoded(wave: Wave, suffix: str) -> bytes:
    """The bytes of a mono file, of the kind that a suffix such as ".flac" says."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", wave.rate, 1, format=_WRITTEN[suffix]) as opened:
        WaveWriter(opened).write(wave.samples)
    return file.getvalue()


@contextlib.contextmanager
def write_wave(path: str | os.PathLike, rate: int) -> Iterator[WaveWriter]:
    """A mono file that appears at `path` when the block ends, and not at all when it raises."""
    path = check_output(path)
    kind = _WRITTEN[path.suffix.lower()]
    try:
        with (
            new_file(path) as partial,
            soundfile.SoundFile(os.fsencode(partial), "w", rate, 1, format=kind) as file,
        ):
            yield WaveWriter(file)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from None

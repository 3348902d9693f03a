"""Audio files in and out: anything libsndfile reads, at any rate and channel count, and an atomic writer.

The source of a task may be hours long, so it is read, mixed down and resampled as a stream.  Every fault of a file is
an AudioError whose message is one line with the file's name.
"""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from metis_jax.data.audio import resample
from metis_jax.outputs import new_file
from metis_jax.types import Float

MINIMUM_SECONDS = 0.1
MAXIMUM_CHANNELS = 64
SILENCE = 1e-4  # peak, -80 dB
CLIPPED_SHARE = 1e-3  # of the samples at full scale
_BLOCK_SECONDS = 10

_log = logging.getLogger(__name__)


class AudioError(ValueError):
    """An audio file that can not be used."""


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


def check_wave(wave: Wave, name: str) -> Wave:
    """The wave, or an AudioError that says what is wrong with it."""
    if wave.samples.ndim != 1:
        raise AudioError(f"{name}: samples have shape {wave.samples.shape}; mix channels down to one axis")
    if wave.seconds < MINIMUM_SECONDS:
        raise AudioError(f"{name}: {wave.seconds:.3f} s of audio; at least {MINIMUM_SECONDS} s are needed")
    if not np.isfinite(wave.samples).all():
        raise AudioError(f"{name}: contains samples that are not finite")
    if np.abs(wave.samples).max() < SILENCE:
        raise AudioError(f"{name}: is silent")
    _report_clipping(_count_clipped(wave.samples), len(wave.samples), name)
    return wave


def _count_clipped(samples: Float[np.ndarray, " l"]) -> int:
    return int(np.count_nonzero(np.abs(samples) >= 1 - 2**-14))


def _report_clipping(clipped: int, count: int, name: str) -> None:
    if clipped > CLIPPED_SHARE * count:
        _log.warning("%s: is clipped in %.1f%% of its samples", name, 100 * clipped / count)


def _open(path: str | os.PathLike) -> soundfile.SoundFile:
    if not Path(path).exists():
        raise AudioError(f"{path}: no such file")
    if not Path(path).is_file():
        raise AudioError(f"{path}: is not a file")
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, RuntimeError, TypeError, OSError) as error:
        raise AudioError(f"{path}: is not audio that libsndfile can read ({error})") from None
    if file.channels > MAXIMUM_CHANNELS:
        raise AudioError(f"{path}: has {file.channels} channels; at most {MAXIMUM_CHANNELS} are read")
    return file


def seconds(path: str | os.PathLike) -> float:
    """Duration as the header states it."""
    with _open(path) as file:
        return file.frames / file.samplerate


def read_wave(path: str | os.PathLike, *, maximum_seconds: float = float("inf")) -> Wave:
    """A whole file, channels averaged, and checked."""
    with _open(path) as file:
        if file.frames > maximum_seconds * file.samplerate:
            found = file.frames / file.samplerate
            raise AudioError(f"{path}: {found:.1f} s of audio; at most {maximum_seconds:g} s are allowed here")
        try:
            samples = file.read(dtype="float32", always_2d=True).mean(axis=1)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(f"{path}: is damaged ({error})") from None
        return check_wave(Wave(samples, file.samplerate), str(path))


def stream_wave(path: str | os.PathLike, rate: int) -> Iterator[Float[np.ndarray, " k"]]:
    """A file of any length at `rate`, in pieces of about ten seconds.

    Faults that only the end of the file can show (too short, silent) are raised at its end.
    """
    with _open(path) as file:
        stream = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32", quality="HQ")
        peak, count, clipped = 0.0, 0, 0
        while True:
            try:
                block = file.read(_BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True).mean(axis=1)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise AudioError(f"{path}: is damaged ({error})") from None
            if not np.isfinite(block).all():
                raise AudioError(f"{path}: contains samples that are not finite")
            peak, count = max(peak, float(np.abs(block).max(initial=0.0))), count + len(block)
            clipped += _count_clipped(block)
            is_last = len(block) < _BLOCK_SECONDS * file.samplerate
            if is_last and count < MINIMUM_SECONDS * file.samplerate:
                found = count / file.samplerate
                raise AudioError(f"{path}: {found:.3f} s of audio; at least {MINIMUM_SECONDS} s are needed")
            if is_last and peak < SILENCE:
                raise AudioError(f"{path}: is silent")
            yield block if rate == file.samplerate else stream.resample_chunk(block, last=is_last)
            if is_last:
                _report_clipping(clipped, count, str(path))
                return


def check_output(path: str | os.PathLike) -> Path:
    """The path, or an AudioError if no file can be written there; asked before any computing."""
    path = Path(path)
    if path.suffix.lstrip(".").upper() not in soundfile.available_formats():
        raise AudioError(f"{path}: unknown kind of audio file {path.suffix!r}; use .wav, .flac or .ogg")
    if path.is_dir():
        raise AudioError(f"{path}: is a directory; name a file")
    if not path.parent.is_dir():
        raise AudioError(f"{path}: the directory {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise AudioError(f"{path}: the directory {path.parent} is not writable")
    return path


class WaveWriter:
    """Takes pieces of a wave; made by `write_wave`."""

    def __init__(self, file: soundfile.SoundFile):
        self._file = file
        self.seconds = 0.0

    def write(self, samples: Float[np.ndarray, " k"]) -> None:
        self._file.write(np.clip(samples, -1.0, 1.0))
        self.seconds += len(samples) / self._file.samplerate


@contextlib.contextmanager
def write_wave(path: str | os.PathLike, rate: int) -> Iterator[WaveWriter]:
    """A mono file that appears at `path` when the block ends, and not at all when it raises."""
    path = check_output(path)
    kind = path.suffix.lstrip(".").upper()
    try:
        with new_file(path) as partial, soundfile.SoundFile(partial, "w", rate, 1, format=kind) as file:
            yield WaveWriter(file)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from None

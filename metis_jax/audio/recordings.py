"""Sound files from front to back, to the end that they have and not to the one that a header tells of.

libsndfile is given each part of a file (`containers.py`) as a file of its own.
"""

import contextlib
import io
import os
from collections.abc import Iterator

import numpy as np
import soundfile
from jaxtyping import Float

from metis_jax.audio.containers import Bytes, Part, parts_of
from metis_jax.audio.sound import BLOCK_SECONDS, Recording, SoundError
from metis_jax.audio.tracks import Track, kind_of

_TOLERANCE = 0.1  # seconds that encoders may count otherwise than we do
_UNKNOWN = 2**60  # frames; what libsndfile says of a FLAC without a length is larger
_LARGEST_BLOCK = 2**22  # numbers


class _File(io.RawIOBase):
    """A part as the file that libsndfile reads."""

    def __init__(self, file: Bytes, part: Part):
        self._file, self._part, self._place = file, part, 0
        self._size = len(part.head) + part.stop - part.start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer) -> int:
        head, wanted = self._part.head, min(len(buffer), self._size - self._place)
        if wanted <= 0:
            return 0
        if self._place < len(head):
            data = head[self._place : self._place + wanted]
        else:
            self._file.seek(self._part.start + self._place - len(head))
            data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


class Forward(soundfile.SoundFile):
    """A file read from front to back.

    Told that it can not seek, soundfile reads on where a length is unknown, and leaves out the four seeks around a
    read, which Ogg files pay for dearly.
    """

    def seekable(self) -> bool:
        return False


class _Parts(Recording):
    """A file that libsndfile reads, part by part."""

    def __init__(self, file: Bytes, path: str | os.PathLike | None):
        self._file, self._path, self._size = file, path, file.seek(0, os.SEEK_END)
        self._parts = parts_of(file, self._size)
        self._read, self._promised = 0, 0.0
        self._first = self._open(self._parts[0])  # until it is read
        self._first_length = _length(self._first)
        self.container, self.channels, self.rate = self._first.format, self._first.channels, self._first.samplerate
        self.is_plain = self._is_whole(self._parts[0]) and self._first_length is not None
        self.check()

    def blocks(self) -> Iterator[Float[np.ndarray, "l c"]]:
        self._read, self._promised = 0, 0.0
        for part in self._parts:
            opened, self._first = self._first or self._open(part), None
            with opened as sound:
                if sound.samplerate != self.rate:
                    raise SoundError(
                        f"has {self.rate} samples per second, and {sound.samplerate} from "
                        f"{self._read / self.rate:.1f} s on; cut it there"
                    )
                self._promised += (_length(sound) or 0) * part.promise
                while len(block := _next_block(sound)):
                    self._read += len(block)
                    yield block

    def frames(self) -> int:
        found = [self._frames_of(part) for part in self._parts]
        return sum(map(len, self.blocks())) if None in found else sum(found)

    def _frames_of(self, part: Part) -> int | None:
        if part.frames is not None:
            return part.frames
        if part is self._parts[0]:
            return self._first_length
        with self._open(part) as sound:
            return _length(sound)

    def shortfall(self) -> str:
        if self._promised - self._read <= _TOLERANCE * self.rate:
            return ""
        return f"is cut off after {self._read / self.rate:.2f} s of {self._promised / self.rate:.2f} s"

    def close(self) -> None:
        if self._first is not None:
            self._first.close()

    def _is_whole(self, part: Part) -> bool:
        return not part.head and (part.start, part.stop) == (0, self._size)

    def _open(self, part: Part) -> Forward:
        source = _File(self._file, part)
        if self._path is not None and self._is_whole(part):
            source = os.fsencode(self._path)  # read without a way through Python
        try:
            return Forward(source)
        except Exception as error:  # soundfile has another kind of exception for every kind of fault
            raise SoundError(f"is not audio that libsndfile can read ({_reason(error)})") from None


def _next_block(sound: Forward) -> Float[np.ndarray, "l c"]:
    frames = min(BLOCK_SECONDS * sound.samplerate, _LARGEST_BLOCK // sound.channels)
    try:
        return sound.read(frames, dtype="float32", always_2d=True)
    except Exception as error:
        raise SoundError(f"is damaged ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """What libsndfile says, without the name of the Python object that it reads."""
    return str(getattr(error, "error_string", error)).strip()


def _length(sound: Forward) -> int | None:
    """The frames of sound that libsndfile believes in, None where the header does not tell."""
    return sound.frames if sound.frames < _UNKNOWN else None


@contextlib.contextmanager
def open_recording(source: bytes | str | os.PathLike) -> Iterator[Recording]:
    """The sound in bytes or at a path; SoundError for what is none."""
    is_path = not isinstance(source, bytes)
    with open(source, "rb") if is_path else io.BytesIO(source) as file:
        kind = kind_of(file)
        recording = Track(file, kind) if kind else _Parts(file, source if is_path else None)
        with contextlib.closing(recording):
            yield recording

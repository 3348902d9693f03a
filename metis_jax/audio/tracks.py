"""The sound of M4A, AAC and video files, by PyAV (extra `video`); libsndfile reads none of them."""

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from metis_jax.audio.containers import Bytes
from metis_jax.audio.sound import BLOCK_SECONDS, Recording, SoundError

_SNIFFED = 16  # bytes that tell
_BEGINNINGS = {b"\x1aE\xdf\xa3": "Matroska", b"0&\xb2u\x8ef\xcf\x11": "ASF", b"FLV\x01": "FLV"}
# FFmpeg would read playlists, which name other files, as well.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,aac"
_TOLERANCE = 0.5  # seconds that a header may promise too many


def kind_of(file: Bytes) -> str:
    """What PyAV is needed for, by its first bytes; empty for what libsndfile may know."""
    file.seek(0)
    start = file.read(_SNIFFED)
    if start[4:8] == b"ftyp":
        return "MP4 or M4A"
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "AVI"
    if len(start) > 1 and start[0] == 0xFF and start[1] & 0xF6 == 0xF0:
        return "AAC"
    return next((kind for beginning, kind in _BEGINNINGS.items() if start.startswith(beginning)), "")


def _av(kind: str) -> ModuleType:
    try:
        return importlib.import_module("av")
    except ImportError:
        raise SoundError(f"is {kind}, which needs PyAV; pip install 'metis_jax[video]'") from None


class Track(Recording):
    """The first sound in a container."""

    is_plain = False

    def __init__(self, file: Bytes, kind: str):
        self._av, self._file, self.container = _av(kind), file, kind
        self._read = 0
        with self._opened() as opened:
            stream = _sound_of(opened)
            self.channels, self.rate = stream.codec_context.channels, stream.codec_context.sample_rate
            self._promised = float(stream.duration * stream.time_base) if stream.duration else 0.0
        self.check()

    def blocks(self) -> Iterator[Float[np.ndarray, "l c"]]:
        self._read, held, count = 0, [], 0
        for piece in self._pieces():
            held.append(piece)
            count += len(piece)
            if count >= BLOCK_SECONDS * self.rate:
                yield np.concatenate(held)
                held, count = [], 0
        if count:
            yield np.concatenate(held)

    def frames(self) -> int:
        return round(self._promised * self.rate) or sum(map(len, self.blocks()))

    def shortfall(self) -> str:
        if self._promised - self._read / self.rate <= _TOLERANCE:
            return ""
        return f"is cut off after {self._read / self.rate:.2f} s of {self._promised:.2f} s"

    def close(self) -> None:
        pass

    def _opened(self) -> Any:
        self._file.seek(0)
        try:
            return self._av.open(self._file, options={"format_whitelist": _CONTAINERS})
        except (self._av.FFmpegError, ValueError) as error:
            raise SoundError(f"is damaged {self.container} ({getattr(error, 'strerror', None) or error})") from None

    def _pieces(self) -> Iterator[Float[np.ndarray, "l c"]]:
        """What is decoded, frame by frame."""
        with self._opened() as opened:
            floats = self._av.AudioResampler(format="fltp", layout=_sound_of(opened).layout, rate=self.rate)
            try:
                for packet in opened.demux(_sound_of(opened)):
                    for frame in (even for one in self._frames(packet) for even in floats.resample(one)):
                        self._read += frame.samples
                        yield frame.to_ndarray().T
            except self._av.FFmpegError as error:
                raise SoundError(f"is damaged {self.container} ({error.strerror})") from None

    def _frames(self, packet: Any) -> list[Any]:
        """Those of a packet; none of one that is damaged, as players do."""
        try:
            return packet.decode()
        except self._av.InvalidDataError:
            return []


def _sound_of(opened: Any) -> Any:
    streams = opened.streams.audio
    if not streams:
        raise SoundError("has no sound in it")
    if streams[0].codec_context is None:
        raise SoundError("has sound of a codec that FFmpeg does not know")
    return streams[0]

"""A video file as pictures, 25 a second, as a player shows them: turned upright, with square pixels, each held until
the next one.

Files of any rate, and of one that varies, are read in one pass and in memory that does not grow.  Picture `k` is what
is shown at (k + 1/2) / 25 seconds behind the first frame, which at 25 frames a second is frame `k`.
"""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import UInt8

from metis_jax.files.inputs import check_regular
from metis_jax.video.errors import VideoError, require

FRAME_RATE = 25
LARGEST_SIDE = 1280  # pixels of a picture that is handed on; larger ones are averaged down
_LONGEST_HOLD = 60  # seconds between two frames; more is a damaged clock
_TOLERANCE = 0.5  # seconds that a header may promise too many
# Containers of moving pictures, and of sound, which is refused by name.  FFmpeg would read playlists of other files,
# text and single pictures as well.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,flv,ogg,asf,mxf,dv,rm,h264,hevc,ivf,nut,m4v,"
    "wav,mp3,flac,aac,aiff,caf,w64,au"
)


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[tuple[Any, Any]]:
    """The container of a video file and its first video stream; VideoError for what FFmpeg does not read."""
    av = require("av")
    if not check_regular(path):
        raise VideoError(f"{path}: is empty")
    try:
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        with av.open(f"file:{os.fspath(path)}", options=options) as container:
            cover = av.stream.Disposition.attached_pic
            streams = [stream for stream in container.streams.video if not stream.disposition & cover]
            if not streams:
                found = "only sound" if container.streams.audio else "none"
                raise VideoError(f"{path}: has no video stream ({found})")
            if streams[0].codec_context is None:
                raise VideoError(f"{path}: its video is of a codec that FFmpeg does not know; convert it to H.264")
            yield container, streams[0]
    except av.FFmpegError as error:
        raise VideoError(f"{path}: can not be read as a video ({error.strerror})") from None


def read_frames(path: str | os.PathLike, largest: int = LARGEST_SIDE) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The pictures of a video, RGB, 25 a second.

    Args:
      path: the file.
      largest: pixels of the longer side at most, see `size_of`.

    Raises:
      VideoError: for a file that holds no video, or ends before its header says.
      InputError: for what is no regular file.
    """
    with opened(path) as (container, stream):
        count, held, picture, end = 0, None, None, Fraction(0)
        for begin, until, frame in _timed(container, stream, path):
            while held is not None and _centre(count) < begin:
                picture = _picture(held, stream, largest) if picture is None else picture
                yield picture
                count += 1
            held, picture, end = frame, None, until  # most frames of a fast video are never looked at
        if held is None:
            raise VideoError(f"{path}: has no frame that can be decoded")
        _check_whole(stream, end, path)
        picture = _picture(held, stream, largest) if picture is None else picture
        while _centre(count) < end or not count:
            yield picture
            count += 1


def size_of(width: int, height: int, largest: int = LARGEST_SIDE) -> tuple[int, int]:
    """Width and height of the picture that is handed on for one of this size as it is shown."""
    shrunk = min(1.0, largest / max(width, height))
    return max(2, round(width * shrunk)), max(2, round(height * shrunk))


def shown_size(path: str | os.PathLike) -> tuple[int, int]:
    """Width and height of a video as players show it: with square pixels, and upright."""
    with opened(path) as (container, stream):
        for _, _, frame in _timed(container, stream, path):
            width, height = _square(frame, stream)
            return (height, width) if _quarter_turns(frame) % 2 else (width, height)
    raise VideoError(f"{path}: has no frame that can be decoded")


def _centre(count: int) -> Fraction:
    return Fraction(2 * count + 1, 2 * FRAME_RATE)


def _timed(container: Any, stream: Any, path: str | os.PathLike) -> Iterator[tuple[Fraction, Fraction, Any]]:
    """When a frame begins, and is thought to end, in seconds behind the first; what is damaged is left out."""
    period = 1 / (stream.average_rate or stream.guessed_rate or Fraction(FRAME_RATE))
    first, begin, end = None, Fraction(0), Fraction(0)
    for packet in container.demux(stream):
        for frame in _decoded(packet):
            at = end if frame.pts is None else frame.pts * frame.time_base
            first = at if first is None else first
            if at - first > end + _LONGEST_HOLD:
                raise VideoError(
                    f"{path}: no frame between {float(end):.1f} s and {float(at - first):.1f} s; cut it there"
                )
            # Clocks that go back, as where files were put one behind the other, go on instead.
            begin = at - first if at - first >= begin else end
            first = at - begin
            end = begin + period
            yield begin, end, frame


def _decoded(packet: Any) -> list[Any]:
    """The frames in a packet, none where it is damaged, as players do."""
    av = require("av")
    try:
        return packet.decode()
    except av.InvalidDataError:
        return []


def _check_whole(stream: Any, end: Fraction, path: str | os.PathLike) -> None:
    promised = stream.duration * stream.time_base if stream.duration else 0
    if promised > end + _TOLERANCE:
        raise VideoError(
            f"{path}: ends after {float(end):.2f} s of the {float(promised):.2f} s that its header tells of; "
            "copy it again, or cut it there"
        )


def _square(frame: Any, stream: Any) -> tuple[int, int]:
    """Width and height with square pixels, before any turn."""
    ratio = stream.sample_aspect_ratio or Fraction(1)
    return round(frame.width * ratio), frame.height


def _quarter_turns(frame: Any) -> int:
    """Counter-clockwise, that the file asks for."""
    return round(frame.rotation / 90) % 4


def _picture(frame: Any, stream: Any, largest: int) -> UInt8[np.ndarray, "h w 3"]:
    width, height = size_of(*_square(frame, stream), largest)
    rgb = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    return np.ascontiguousarray(np.rot90(rgb, _quarter_turns(frame)))

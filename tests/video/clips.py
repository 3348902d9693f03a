"""Videos that are made for tests, and damage that is done to them."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

TICKS = 600  # of a clip's clock in a second


def grey(level: int, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    """A picture of one level; the next ones of a clip tell which one it is."""
    return np.full((*size, 3), level, np.uint8)


def write_clip(
    path: Path,
    pictures: Iterable[np.ndarray],
    rate: Fraction | int = 25,
    *,
    begins: Sequence[float] | None = None,
    codec: str = "mpeg4",
    aspect: Fraction | None = None,
    quality: int = 1,
) -> Path:
    """A file of pictures [h, w, 3], at a rate or at the seconds at which each begins."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        stream.codec_context.qmin = stream.codec_context.qmax = quality
        stream.codec_context.flags |= 2  # a constant quality
        for number, picture in enumerate(pictures):
            if not number:
                stream.height, stream.width = picture.shape[:2]
                if aspect is not None:
                    stream.codec_context.sample_aspect_ratio = aspect
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            begin = number / Fraction(rate) if begins is None else Fraction(begins[number]).limit_denominator(TICKS)
            frame.pts, frame.time_base = round(begin * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turned(data: bytes, quarters: int) -> bytes:
    """The bytes of an MP4 whose header asks players to turn it clockwise, as telephones write it."""
    a, b, c, d = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)][quarters]
    upright = _matrix(1, 0, 0, 1)
    place = data.index(upright, data.index(b"tkhd"))
    return data[:place] + _matrix(a, b, c, d) + data[place + len(upright) :]


def _matrix(a: int, b: int, c: int, d: int) -> bytes:
    one = 1 << 16
    return struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)

"""Many small grey pictures in one PNG, to be looked at."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

COLUMNS = 15
MOST = 300  # pictures on a sheet, which are 12 s of a video


def chosen(count: int, most: int = MOST) -> list[int]:
    """Which of `count` pictures come on a sheet: all of them, or some from beginning to end."""
    return list(range(count)) if count <= most else np.linspace(0, count - 1, most).round().astype(int).tolist()


def sheet_of(pictures: Sequence[UInt8[np.ndarray, "s s"]]) -> UInt8[np.ndarray, "h w"]:
    """Pictures in rows, from left to right."""
    size, columns = len(pictures[0]), min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.zeros((rows * columns, size, size), np.uint8)
    sheet[: len(pictures)] = pictures
    return sheet.reshape(rows, columns, size, size).swapaxes(1, 2).reshape(rows * size, columns * size)


def png(picture: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The bytes of a PNG, grey or of three colours."""
    height, width = picture.shape[:2]
    lines = b"".join(b"\0" + line.tobytes() for line in picture)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">2I5B", width, height, 8, 2 * (picture.ndim == 3), 0, 0, 0)),
            (b"IDAT", zlib.compress(lines)),
            (b"IEND", b""),
        )
    )

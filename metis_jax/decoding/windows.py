"""Long input in overlapping windows, cut from a stream so that memory does not grow with its length.

The models were trained on up to 30 s.  A window starts `overlap` frames before the end of the one before; the tokens of
those frames are known and continue the prompt.  The decoder turns overlap and new tokens into samples, and the halves
of the overlap that lack context on one side are dropped: where the overlap is twice the decoder's receptive field, the
joined wave equals the wave of all tokens decoded at once.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from metis_jax.types import Float

MAX_FRAMES = 1500  # 30 s, prompt included
OVERLAP = 200  # 4 s; the published decoder sees 95 frames to either side


@dataclasses.dataclass(frozen=True)
class Window:
    """Samples of the source from frame `start` on; `is_last` when nothing follows."""

    samples: Float[np.ndarray, " l"]
    start: int
    is_last: bool


@dataclasses.dataclass(frozen=True)
class Span:
    """Frames of a decoded window that are kept: from `begin` to `end`, counted from the window's start."""

    begin: int
    end: int


def cut(chunks: Iterable[Float[np.ndarray, " k"]], *, hop: int, samples: int, overlap: int) -> Iterator[Window]:
    """Windows of `samples` samples, `overlap` frames of `hop` samples in common, the last one shorter.

    Args:
      chunks: the source, in pieces of any size; it is read only as far as the next window needs.
      hop: samples per frame.
      samples: length of every window but the last; it may exceed a whole number of frames by an analysis window.
      overlap: frames.
    """
    step = (samples // hop - overlap) * hop
    if step <= 0:
        raise ValueError(f"windows of {samples // hop} frames leave no room for {overlap} frames of overlap")
    buffer = np.zeros(0, np.float32)
    start = 0
    for chunk in chunks:
        buffer = np.concatenate([buffer, chunk])
        while len(buffer) > samples:
            yield Window(buffer[:samples], start, False)
            buffer = buffer[step:]
            start += step // hop
    yield Window(buffer, start, True)


def kept(frames: int, overlap: int, *, is_first: bool, is_last: bool) -> Span:
    """What a window of `frames` contributes to the joined wave."""
    half = overlap // 2
    return Span(0 if is_first else half, frames if is_last else frames - (overlap - half))

"""Long input in overlapping windows, cut from a stream so that memory does not grow with its length.

Models of the published size are trained on up to 30 s; a bundle whose models know less says so (`WindowPlan.within`
when it is exported, `WindowPlan.of` when it is read).  A window starts `overlap` frames before the end of the one
before; the tokens of those frames are known and continue the prompt.  The decoder turns overlap and new tokens into
samples, and the halves of the overlap that lack context on one side are dropped: where the overlap is twice the
decoder's receptive field, the joined wave equals the wave of all tokens decoded at once.  A decoder whose pulses begin
anew with every window differs in phase alone, and a fade over one frame hides that.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from metis_jax.inference.buckets import FRAME_BUCKETS
from metis_jax.sections import from_config_dict
from metis_jax.types import Float, Int


def faded(before: Float[np.ndarray, " n"], after: Float[np.ndarray, " l"]) -> Float[np.ndarray, " l"]:
    """`after`, faded in over `before`: the same moments as the window before them decoded them."""
    n = min(len(before), len(after))
    falling = 1 - (np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(max(n, 1))
    return np.concatenate([after[:n] + (before[:n] - after[:n]) * falling, after[n:]])


@dataclasses.dataclass(frozen=True)
class Window:
    """Samples of the source, or its features, from frame `start` on; `is_last` when nothing follows."""

    samples: Float[np.ndarray, "l ..."]
    start: int
    is_last: bool


@dataclasses.dataclass(frozen=True)
class WindowPlan:
    """How long windows are, and how much of one the next one repeats.

    Attributes:
      frames: longest sequence of the generators, prompt included; 30 s.
      overlap: frames that two windows share; the published decoder sees 95 frames to either side of one.
      least: frames that are left for what is new behind any prompt, however long.
    """

    frames: int = 1500
    overlap: int = 200
    least: int = 0

    def __post_init__(self):
        for name in ("frames", "overlap", "least"):
            value = getattr(self, name)
            if not 0 <= value <= FRAME_BUCKETS[-1]:
                raise ValueError(f"{name} is {value}; use 0 to {FRAME_BUCKETS[-1]}")
        if not self.overlap < self.frames or 0 < self.least <= self.overlap:
            raise ValueError(
                f"windows of {self.frames} frames, at least {self.least} of them new, share {self.overlap}"
            )

    @classmethod
    def of(cls, decoding: Mapping[str, Any]) -> "WindowPlan":
        """As a bundle's settings of decoding want it under "window"."""
        wishes = decoding.get("window", {})
        if not isinstance(wishes, Mapping):
            raise ValueError(f"decoding.window is {wishes!r}; expected its settings by name")
        return from_config_dict(cls, dataclasses.asdict(cls()) | wishes, where="decoding.window")

    @classmethod
    def within(cls, frames: int) -> "WindowPlan":
        """For generators that saw sequences of up to `frames`: a sixth is shared, half is left behind a prompt."""
        longest = cls()
        return longest if frames >= longest.frames else cls(frames, min(longest.overlap, frames // 6), frames // 2)

    def room(self, ahead: int) -> int:
        """Frames that a window has behind `ahead` frames of a prompt."""
        return max(self.frames - ahead, self.least)

    def cut(self, chunks: Iterable[Float[np.ndarray, "_ ..."]], *, samples: int, hop: int) -> Iterator[Window]:
        """Windows of the source, the last one shorter.

        Args:
          chunks: the source, in pieces of any size; it is read only as far as the next window needs.  Features are
            their own frames, of `hop` 1.
          samples: length of every window but the last; it may exceed whole frames by an analysis window.
          hop: samples per frame.
        """
        step = self._step(samples, hop)
        buffer = np.zeros(0, np.float32)
        start = 0
        for chunk in chunks:
            buffer = np.concatenate([buffer, chunk]) if len(buffer) else chunk
            while len(buffer) > samples:
                yield Window(buffer[:samples], start, False)
                buffer = buffer[step:]
                start += step // hop
        yield Window(buffer, start, True)

    def count(self, total: int, *, samples: int, hop: int) -> int:
        """How many windows `cut` makes of `total` samples."""
        return 1 + max(0, -(-(total - samples) // self._step(samples, hop)))

    def cut_tokens(self, tokens: Int[np.ndarray, "u q"]) -> list[Int[np.ndarray, "_ q"]]:
        """Acoustic tokens of any length in windows, the last one shorter; `join_waves` takes their waves."""
        starts = range(0, max(len(tokens) - self.overlap, 1), self.frames - self.overlap)
        return [tokens[start : start + self.frames] for start in starts]

    def join_waves(self, waves: Sequence[Float[np.ndarray, " _"]], *, hop: int) -> Float[np.ndarray, " l"]:
        """The wave of all tokens from those of its windows, each of which gives the half of an overlap it sees best."""
        half = self.overlap // 2 * hop
        ends = [len(wave) - (self.overlap * hop - half) for wave in waves[:-1]] + [len(waves[-1])]
        begins = [0] + [half] * (len(waves) - 1)
        pieces, tail = [], np.zeros(0, np.float32)
        for wave, begin, end in zip(waves, begins, ends, strict=True):
            pieces.append(faded(tail, wave[begin:end]))
            tail = wave[end : end + hop]
        return np.concatenate(pieces)

    def _step(self, samples: int, hop: int) -> int:
        step = (samples // hop - self.overlap) * hop
        if step <= 0:
            raise ValueError(f"windows of {samples // hop} frames leave no room for {self.overlap} frames of overlap")
        return step


class Continuation:
    """The tokens that windows have given so far, of which the last ones are kept, and how much of the wave is out.

    Both lists count from the start of the source.  Where the prompt has an acoustic frame more than it has semantic
    ones, as the release lets it, the acoustic list is one shorter.  `own_voice` and `own_semantic` are what the first
    window had as those of its pass.
    """

    def __init__(self, num_levels: int, overlap: int):
        self._overlap = overlap
        self._start = 0
        self._emitted = 0
        self.semantic = np.zeros((0,), np.int32)
        self.acoustic = np.zeros((0, num_levels), np.int32)
        self.own_voice = self.acoustic
        self.own_semantic: Int[np.ndarray, " v"] | None = None

    def enter(self, window: Window) -> None:
        """Drops the tokens before the window."""
        ahead = window.start - self._start
        self.semantic, self.acoustic = self.semantic[ahead:], self.acoustic[ahead:]
        self._start = window.start

    def extend(
        self, semantic: Int[np.ndarray, " t"], acoustic: Int[np.ndarray, "u q"], *, is_last: bool
    ) -> tuple[int, int]:
        """Adds what the window decoded; the frames, from the window's start, whose samples are now final."""
        self.semantic = np.concatenate([self.semantic, semantic])
        self.acoustic = np.concatenate([self.acoustic, acoustic])
        begin = self._emitted - self._start
        end = len(self.acoustic) - (0 if is_last else self._overlap // 2)
        self._emitted = self._start + end
        return begin, end

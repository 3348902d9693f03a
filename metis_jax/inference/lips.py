"""Lips as a caller may give them: features, mouth crops, or a file of either, or a video."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from metis_jax.files.inputs import InputError, finite_floats, read_array, read_arrays
from metis_jax.inference.engine import Engine
from metis_jax.types import Float, UInt8
from metis_jax.video.mouths import CROP, read_mouths

Lips: TypeAlias = str | os.PathLike | np.ndarray

_FEATURES, _CROPS = ".npy", ".npz"
_WINDOW, _OVERLAP = 750, 100  # pictures that an encoder sees at once, 30 s, and those that two windows share
_MOST = 90_000  # pictures of a video, an hour: their crops take 700 MB


def is_video(path: str | os.PathLike) -> bool:
    """Whether a file is taken for a video: everything but `.npy` and `.npz`."""
    return Path(path).suffix.lower() not in (_FEATURES, _CROPS)


def needs_sight(lips: Any) -> bool:
    """Whether features are still to be made; InputError for what are no lips."""
    if not isinstance(lips, str | os.PathLike | np.ndarray):
        raise InputError(f"lips are of type {type(lips).__name__}; expected a path, crops or features")
    return lips.ndim == 3 if isinstance(lips, np.ndarray) else Path(lips).suffix.lower() != _FEATURES


def read_lips(lips: Any, *, face: int = 1) -> np.ndarray:
    """Features [t, c] or mouth crops [t, 88, 88]: those of an `.npy`, `crops` of an `.npz`, or the crops of a video.

    InputError or VideoError, one line, for a file that has none, or for a video of more than an hour.
    """
    if isinstance(lips, np.ndarray):
        return _crops(lips, "lips") if needs_sight(lips) else lips
    if is_video(lips):
        return read_mouths(lips, face=face, most=_MOST).crops
    if not needs_sight(lips):
        return finite_floats(read_array(lips), str(lips)).astype(np.float32)
    arrays = read_arrays(lips)
    if "crops" not in arrays:
        raise InputError(f"{lips}: has no array 'crops'; it has {', '.join(arrays) or 'none'}")
    return _crops(arrays["crops"], str(lips))


def check_lips(read: np.ndarray, *, width: int) -> None:
    """ValueError unless what was read are crops, or finite features [t, width]."""
    if read.ndim != 3 and (read.ndim != 2 or read.shape[1] != width or not len(read) or read.dtype.kind != "f"):
        found = f"{read.dtype}{list(read.shape)}"
        raise ValueError(f"lip features are {found}; expected floats [frames, {width}] at 25 frames per second")
    if not np.isfinite(read).all():
        raise ValueError("lip features contain numbers that are not finite")


def _crops(crops: np.ndarray, name: str) -> UInt8[np.ndarray, "t s s"]:
    if crops.dtype != np.uint8 or crops.shape[1:] != (CROP, CROP) or not len(crops):
        found = f"{crops.dtype}{list(crops.shape)}"
        raise InputError(f"{name}: crops are {found}; expected uint8 [t, {CROP}, {CROP}] at 25 a second")
    return crops


def lip_features(engine: Engine, lips: Sequence[np.ndarray]) -> list[Float[np.ndarray, "_ c"]]:
    """Features of what `read_lips` gives, those of crops by the bundle's visual encoder, in windows that overlap."""
    crops = [one for one in lips if needs_sight(one)]
    windows = [_windows(len(one)) for one in crops]
    cut = [one[window.start : window.stop] for one, own in zip(crops, windows, strict=True) for window in own]
    made = iter(engine.visual_features(cut) if cut else [])
    joined = iter([_joined([next(made) for _ in own]) for own in windows])
    return [next(joined) if needs_sight(one) else one for one in lips]


def _windows(pictures: int) -> list[range]:
    starts = range(0, max(pictures - _OVERLAP, 1), _WINDOW - _OVERLAP)
    return [range(start, min(start + _WINDOW, pictures)) for start in starts]


def _joined(windows: Sequence[Float[np.ndarray, "_ c"]]) -> Float[np.ndarray, "t c"]:
    """Each window gives the half of an overlap in which it sees more to either side."""
    half = _OVERLAP // 2
    begun = [windows[0], *(one[half:] for one in windows[1:])]
    return np.concatenate([*(one[: half - _OVERLAP] for one in begun[:-1]), begun[-1]])


def doubled(features: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "u c"]:
    """Features at twice the frame rate, linearly interpolated between frame centres, the ends held."""
    before = np.concatenate([features[:1], features[:-1]])
    after = np.concatenate([features[1:], features[-1:]])
    pairs = np.stack([0.75 * features + 0.25 * before, 0.75 * features + 0.25 * after], axis=1)
    return pairs.reshape(-1, features.shape[1]).astype(np.float32)

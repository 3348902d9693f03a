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


def is_video(path: str | os.PathLike) -> bool:
    """Whether a file is taken for a video: everything but `.npy` and `.npz`."""
    return Path(path).suffix.lower() not in (_FEATURES, _CROPS)


def needs_sight(lips: Any) -> bool:
    """Whether features are still to be made; InputError for what are no lips."""
    if not isinstance(lips, str | os.PathLike | np.ndarray):
        raise InputError(f"lips are of type {type(lips).__name__}; expected a path, crops or features")
    return lips.ndim == 3 if isinstance(lips, np.ndarray) else Path(lips).suffix.lower() != _FEATURES


def read_lips(lips: Any, *, most: int | None = None) -> np.ndarray:
    """Features [t, c] or mouth crops [t, 88, 88]: those of an `.npy`, `crops` of an `.npz`, or the crops of a video.

    InputError or VideoError, one line, for a file that has none, or for a video of more than `most` pictures.
    """
    if isinstance(lips, np.ndarray):
        return _crops(lips, "lips") if needs_sight(lips) else lips
    if is_video(lips):
        return read_mouths(lips, most=most).crops
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
    """Features of what `read_lips` gives, those of crops by the bundle's visual encoder."""
    crops = [one for one in lips if needs_sight(one)]
    made = iter(engine.visual_features(crops) if crops else [])
    return [next(made) if needs_sight(one) else one for one in lips]


def doubled(features: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "u c"]:
    """Features at twice the frame rate, linearly interpolated between frame centres, the ends held."""
    before = np.concatenate([features[:1], features[:-1]])
    after = np.concatenate([features[1:], features[-1:]])
    pairs = np.stack([0.75 * features + 0.25 * before, 0.75 * features + 0.25 * after], axis=1)
    return pairs.reshape(-1, features.shape[1]).astype(np.float32)

"""The mouths that `prepare` cuts out of the videos of its items, found once for both of its passes."""

import hashlib
import pathlib

import numpy as np
from jaxtyping import UInt8

from metis_jax.data.corpus.items import Item
from metis_jax.files.outputs import new_file
from metis_jax.video.errors import VideoError
from metis_jax.video.frames import FRAME_RATE
from metis_jax.video.mouths import WITH_MARGIN, read_mouths


def mouth_crops(item: Item, seconds: float, kept: pathlib.Path) -> UInt8[np.ndarray, "t s s"]:
    """The mouth of an item's video, with the margin that training cuts away; `kept` is where the scan leaves it.

    VideoError where there is none, or more or less of it than of the sound.
    """
    path = kept / f"{hashlib.blake2b(item.id.encode(), digest_size=16).hexdigest()}.npy"
    if path.exists():
        return np.load(path)
    crops = read_mouths(item.video_path, size=WITH_MARGIN).crops
    if abs(len(crops) / FRAME_RATE - seconds) > 0.2 + 0.05 * seconds:
        raise VideoError(f"{item.video_path}: lasts {len(crops) / FRAME_RATE:.2f} s, its sound {seconds:.2f} s")
    kept.mkdir(exist_ok=True)
    with new_file(path) as partial, open(partial, "wb") as file:
        np.save(file, crops)
    return crops

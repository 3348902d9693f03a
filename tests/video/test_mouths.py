"""A face is followed and its mouth cut out alike, wherever and however large it is in the picture."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from clips import grey, write_clip

from metis_jax.files.inputs import InputError, read_arrays
from metis_jax.video import mouths
from metis_jax.video.errors import VideoError
from metis_jax.video.faces import Faces, mtcnn
from metis_jax.video.frames import read_frames
from metis_jax.video.sheet import chosen, png, sheet_of

pytestmark = pytest.mark.extra("video", "av")
CLIP = Path(__file__).parents[1] / "golden" / "video" / "face.mp4"
FACE = np.array([(30.0, 30), (60, 30), (45, 45), (33, 65), (57, 65)], np.float32)


def faces(*points):
    """Faces at these points, as a detector finds them."""
    points = np.array(points, np.float32).reshape(-1, 5, 2)
    boxes = np.concatenate([points.min(axis=1) - 10, points.max(axis=1) + 10], axis=1)
    return Faces(boxes, np.ones(len(points), np.float32), points)


def detect(picture):
    """Where the clip shows the face, without the networks."""
    return faces(np.array([(152, 155), (203, 156), (175, 184), (155, 214), (194, 215)]))


def test_gaps_are_lines_and_what_lies_beside_is_held():
    found = [faces()] * 2 + [faces(FACE + i) if i % 4 else faces() for i in range(1, 20)] + [faces()] * 3
    followed = mouths.follow(found)
    assert followed.is_seen.sum() == sum(map(bool, map(len, found))) and followed.faces == 1
    line = np.arange(1, 20)[6:-6, None, None] + FACE
    np.testing.assert_allclose(followed.points[2:21][6:-6], line, atol=1e-3)
    np.testing.assert_array_equal(followed.points[:2], followed.points[[2, 2]])
    np.testing.assert_array_equal(followed.points[-3:], followed.points[[-4] * 3])


def test_trembling_is_smoothed():
    noise = np.random.default_rng(0).normal(size=(100, 5, 2))
    points = mouths.follow([faces(FACE + one) for one in noise]).points
    assert (points - FACE).std() < 0.45


def test_the_larger_and_steadier_of_two_faces():
    large, small = FACE * 2 + (200, 0), FACE
    found = [faces(small, large) if i % 2 else faces(large, small) for i in range(20)]
    np.testing.assert_allclose(mouths.follow(found).points[7], large, atol=1e-3)
    np.testing.assert_allclose(mouths.follow(found, 2).points[7], small, atol=1e-3)
    rare = [faces(small, large) if i < 6 else faces(small) for i in range(20)]
    np.testing.assert_allclose(mouths.follow(rare).points[7], small, atol=1e-3)
    for face in (0, 3):
        with pytest.raises(VideoError, match=f"clip: has 2 faces; face {face} is asked for"):
            mouths.follow(found, face, "clip")


def test_a_face_is_followed_over_a_cut_and_not_smoothed_across_it():
    found = [faces(FACE)] * 10 + [faces(FACE + (300, 0))] * 10
    followed = mouths.follow(found)
    assert followed.faces == 1
    np.testing.assert_allclose(followed.points, [FACE] * 10 + [FACE + (300, 0)] * 10, atol=1e-3)


def test_what_flashes_up_is_no_face():
    found = [faces(FACE, FACE + (300, 0)) if i in (3, 4) else faces(FACE) for i in range(10)]
    assert mouths.follow(found).faces == 1
    with pytest.raises(VideoError, match="clip: no face is found in any of 3 pictures"):
        mouths.follow([faces()] * 3, name="clip")


@pytest.mark.parametrize("turn, scale", [(0, 1), (0, 0.5), (0, 3), (20, 1.5), (-90, 1)])
def test_crops_are_the_same_however_the_face_lies(turn, scale):
    """Of a smooth picture that is drawn anew, turned and scaled."""
    step = scale * np.exp(1j * np.radians(turn))

    def draw(step, middle, size=400):
        axis = np.arange(size) + 0.5
        at = (axis[None] + 1j * axis[:, None] - middle) / step
        return (127 + 60 * np.sin(at.real / 9) + 60 * np.cos(at.imag / 7)).astype(np.uint8)[..., None].repeat(3, -1)

    def crop(step, middle):
        shape = middle + step * (FACE[:, 0] + 1j * FACE[:, 1] - (45 + 65j))
        points = np.stack([shape.real, shape.imag], axis=-1)[None]
        return next(mouths.crops_of([draw(step, middle)], points)).astype(int)

    # Pixels of the picture are whole numbers, and drawn without averaging.
    assert np.abs(crop(step, 200.3 + 199.6j) - crop(1.0, 200 + 200j)).mean() < 5


def test_the_mouth_is_in_the_middle_and_as_wide_as_in_the_mean_face():
    picture = np.zeros((288, 360, 3), np.uint8)
    mean = np.array([mouths._MEAN[0], mouths._MEAN[1], -35j, mouths._MEAN[2], mouths._MEAN[3]]) + 180 + 144j
    for corner in mean[3:]:
        x, y = int(corner.real), int(corner.imag)
        picture[y - 1 : y + 1, x - 1 : x + 1] = 255
    [crop] = mouths.crops_of([picture], np.stack([mean.real, mean.imag], axis=-1)[None], 96)
    assert crop.shape == (96, 96)
    assert [list(place) for place in np.argwhere(crop > 200)[[0, -1]]] == [[47, 23], [48, 72]]


def test_beyond_the_picture_its_edge_goes_on():
    picture = grey(90, (40, 40))
    [crop] = mouths.crops_of([picture], FACE[None] - 20)
    assert (crop == 90).all()
    with pytest.raises(ValueError):
        list(mouths.crops_of([picture], FACE[None].repeat(2, axis=0)))


def test_a_video_to_a_file(tmp_path):
    found = mouths.find_mouth(CLIP, detector=detect)
    mouths.write_mouths(tmp_path / "crops.npz", found)
    arrays = read_arrays(tmp_path / "crops.npz")
    assert arrays["crops"].shape == (25, 88, 88) and arrays["crops"].dtype == np.uint8
    np.testing.assert_allclose(arrays["mouth"], [[(155, 214), (194, 215)]] * 25, atol=1e-3)
    whole = mouths.read_mouths(CLIP, detector=detect)
    np.testing.assert_array_equal(whole.crops, arrays["crops"])
    wide = mouths.read_mouths(CLIP, detector=detect, size=mouths.WITH_MARGIN).crops
    np.testing.assert_array_equal(wide[:, 4:-4, 4:-4], whole.crops)


def test_corners_are_in_pixels_of_the_video(tmp_path, monkeypatch):
    monkeypatch.setattr(mouths, "read_frames", lambda path: read_frames(path, largest=180))
    due = detect(None).points
    found = mouths.find_mouth(CLIP, landmarks=due.repeat(25, axis=0))
    assert found.scale == 2
    np.testing.assert_allclose(found.mouth, due[:, 3:].repeat(25, axis=0), atol=1e-3)


def test_landmarks_of_the_users_own(tmp_path):
    points = detect(None).points.repeat(25, axis=0)
    points[3:5] = np.nan
    np.savez(tmp_path / "l.npz", points=points)
    found = mouths.find_mouth(CLIP, landmarks=mouths.read_landmarks(tmp_path / "l.npz"))
    assert found.followed.is_seen.sum() == 23
    with pytest.raises(VideoError, match="has 25 pictures at 25 a second, landmarks 20"):
        mouths.find_mouth(CLIP, landmarks=points[:20])
    with pytest.raises(VideoError, match="has 25 pictures at 25 a second, landmarks 30"):
        mouths.find_mouth(CLIP, landmarks=np.resize(points, (30, 5, 2)))
    for arrays, said in [({"mouth": points}, "no array 'points'"), ({"points": points[:, :4]}, r"expected floats")]:
        np.savez(tmp_path / "l.npz", **arrays)
        with pytest.raises(InputError, match=said):
            mouths.read_landmarks(tmp_path / "l.npz")


def test_a_still_picture_and_a_short_clip(tmp_path):
    [picture, *_] = read_frames(CLIP)
    still = mouths.read_mouths(write_clip(tmp_path / "a.mp4", [picture] * 3), detector=detect).crops
    assert still.shape == (3, 88, 88) and np.ptp(still.astype(int), axis=0).max() < 12


@pytest.mark.extra("video", "onnxruntime")
def test_the_face_of_the_clip_is_followed_by_the_networks():
    followed = mouths.follow(map(mtcnn(), itertools.islice(read_frames(CLIP), 4)))
    assert followed.is_seen.all() and followed.faces == 1
    np.testing.assert_allclose(followed.points, detect(None).points.repeat(4, axis=0), atol=5)


def test_sheets():
    pictures = [np.full((4, 4), level, np.uint8) for level in range(17)]
    sheet = sheet_of(pictures)
    assert sheet.shape == (8, 60) and (sheet[5, 0], sheet[5, 7], sheet[5, 8]) == (15, 16, 0)
    assert chosen(3) == [0, 1, 2] and len(chosen(5000)) == 300 and chosen(5000)[-1] == 4999
    import matplotlib.image

    np.testing.assert_allclose(matplotlib.image.imread(io.BytesIO(png(sheet))) * 255, sheet, atol=0.01)

"""Lip to speech from a video: through its crops and the visual encoder of a bundle, and back onto the video."""

from pathlib import Path

import numpy as np
import pytest
from mini_chain import CountingEngine

from metis_jax.cli import infer
from metis_jax.files.inputs import InputError
from metis_jax.inference import lips
from metis_jax.inference.metis import Metis
from metis_jax.video.errors import VideoError
from metis_jax.video.faces import Faces
from metis_jax.video.frames import read_frames
from metis_jax.weights.tensor_files import WeightsError

pytestmark = pytest.mark.extra("video", "av")
CLIP = Path(__file__).parents[1] / "golden" / "video" / "face.mp4"
POINTS = np.array([[(152, 155), (203, 156), (175, 184), (155, 214), (194, 215)]], np.float32)


class SeeingEngine(CountingEngine):
    def visual_features(self, crops):
        return [np.repeat(one.mean(axis=(1, 2))[:, None] / 255, 4, axis=1).astype(np.float32) for one in crops]


class BlindEngine(CountingEngine):
    def require_sight(self):
        raise WeightsError("bundle: the bundle has no visual encoder")


@pytest.fixture(autouse=True)
def face_is_found(monkeypatch):
    """The face is where it is in the clip; the networks are tested elsewhere."""
    found = Faces(np.array([[125, 120, 225, 235]], np.float32), np.ones(1, np.float32), POINTS)
    monkeypatch.setattr("metis_jax.video.mouths.mtcnn", lambda: lambda picture: found)


def test_a_video_its_crops_and_their_features_say_the_same(tmp_path):
    metis = Metis(SeeingEngine())
    crops = lips.read_lips(CLIP)
    np.savez(tmp_path / "crops.npz", crops=crops)
    np.save(tmp_path / "lips.npy", metis.engine.visual_features([crops])[0])
    given = [CLIP, str(CLIP), crops, tmp_path / "crops.npz", tmp_path / "lips.npy"]
    for one, speech in zip(given, metis.lip_read(given), strict=True):
        assert speech.wave.seconds == 1
        np.testing.assert_array_equal(metis.lip_read(one).wave.samples, speech.wave.samples)


def test_a_bundle_without_eyes_is_refused_before_the_video_is_read():
    metis = Metis(BlindEngine())
    for one in (CLIP, "none.mp4", np.zeros((3, 88, 88), np.uint8)):
        with pytest.raises(WeightsError, match="no visual encoder"):
            metis.lip_read(one)
    assert metis.lip_read(np.zeros((3, 4), np.float32)).wave.seconds == 0.12


def test_crops_of_another_kind_are_refused(tmp_path):
    metis = Metis(SeeingEngine())
    for crops in (np.zeros((3, 96, 96), np.uint8), np.zeros((3, 88, 88), np.float32), np.zeros((0, 88, 88), np.uint8)):
        np.savez(tmp_path / "a.npz", crops=crops)
        for one in (crops, tmp_path / "a.npz"):
            with pytest.raises(InputError, match="expected uint8"):
                metis.lip_read(one)


def test_a_video_that_is_too_long_is_refused_without_reading_on(monkeypatch):
    seen = []
    monkeypatch.setattr(lips, "_MOST", 750)
    pictures = list(read_frames(CLIP))[:1] * 10_000
    monkeypatch.setattr("metis_jax.video.mouths.read_frames", lambda path: (seen.append(0) or one for one in pictures))
    with pytest.raises(VideoError, match="face.mp4: is longer than 30 s"):
        Metis(SeeingEngine()).lip_read(CLIP)
    assert len(seen) == 751


def test_long_crops_are_seen_in_windows_as_if_at_once():
    """An encoder that sees twenty pictures to either side."""

    class Blurred(SeeingEngine):
        def visual_features(self, crops):
            assert max(map(len, crops)) <= 750
            kernel = np.ones(41)
            return [np.convolve(one[:, 0, 0], kernel, "same")[:, None].astype(np.float32) for one in crops]

    crops = np.random.default_rng(0).integers(0, 256, (2000, 88, 88)).astype(np.uint8)
    found, short = lips.lip_features(Blurred(), [crops, crops[:60]])
    whole = np.convolve(crops[:, 0, 0], np.ones(41), "same")[:, None]
    np.testing.assert_allclose(found, whole)
    assert len(short) == 60


def test_the_command_writes_a_wave_and_a_video(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Metis, "from_pretrained", lambda *_, **__: Metis(SeeingEngine()))

    def run(*flags):
        status = infer.main(["--compilation_cache=off", "--bundle=none", "--task=l2s", *flags])
        return status, capsys.readouterr().err

    video = f"--video={CLIP}"
    assert run(video, "--output=o.wav", "--output_video=o.mp4") == (0, "")
    assert len(list(read_frames("o.mp4"))) == 25
    for flags, said in [
        ((video, "--output=o.wav", "--features=a.npy"), "are given; give one"),
        ((video, "--output=o.wav", "--output_video=o.wav"), "is no name of a video"),
        ((video, "--output=o.wav", "--output_video=none/o.mp4"), "does not exist"),
        ((video, "--output=o.wav", f"--output_video={CLIP}"), "is the video too"),
        (("--features=a.npy", "--output=o.wav", "--output_video=o.mp4"), "needs --video=…"),
        (("--video=a.npz", "--output=o.wav", "--output_video=o.mp4"), "needs --video=…, a video to copy"),
        (("--video=none.mp4", "--output=o.wav"), "none.mp4: No such file"),
        ((video, "--output=o.wav", "--face=2"), "face.mp4: has one face; face 2 is asked for"),
        ((video, "--output=o.wav", "--face=0"), "face is 0; faces are counted from 1"),
        (("--features=a.npy", "--output=o.wav", "--face=1"), "--face=… needs --video=…, a video with faces"),
    ]:
        status, error = run(*flags)
        assert status == 2 and said in error and error.count("\n") == 1

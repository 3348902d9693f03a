"""A wave goes onto a copy of a video: the same pictures, and the sound where it belongs."""

from pathlib import Path

import numpy as np
import pytest
from clips import grey, turned, write_clip

from metis_jax.video.errors import VideoError
from metis_jax.video.frames import read_frames, shown_size
from metis_jax.video.sound import read_sound, write_with_sound

pytestmark = pytest.mark.extra("video", "av")
CLIP = Path(__file__).parents[1] / "golden" / "video" / "face.mp4"
RATE = 24_000


def click(at, seconds=1.0):
    wave = np.zeros(int(seconds * RATE), np.float32)
    wave[round(at * RATE) : round(at * RATE) + 40] = 0.8
    return wave


def heard(path):
    """The wave of a file and the second at which it begins behind the first picture."""
    import av

    with av.open(str(path)) as container:
        pictures = container.streams.video[0]
        first = next(container.decode(pictures)).time
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].time - first


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "MP4"])
def test_pictures_stay_and_the_sound_is_in_time(tmp_path, suffix):
    output = tmp_path / f"a.{suffix}"
    write_with_sound(output, CLIP, click(0.5), RATE)
    for found, due in zip(read_frames(output), read_frames(CLIP), strict=True):
        np.testing.assert_array_equal(found, due)
    wave, begin = heard(output)
    assert abs(begin + np.abs(wave).argmax() / RATE - 0.5) < 0.01
    assert list(tmp_path.iterdir()) == [output]


def test_the_sound_begins_with_the_first_picture_of_a_clip_that_begins_late(tmp_path):
    late = write_clip(tmp_path / "late.mkv", [grey(30)] * 25, begins=np.arange(25) / 25 + 3)
    write_with_sound(tmp_path / "a.mkv", late, click(0.5), RATE)
    wave, begin = heard(tmp_path / "a.mkv")
    assert abs(begin + np.abs(wave).argmax() / RATE - 0.5) < 0.05


@pytest.mark.parametrize("late", [0, 3])
def test_what_is_read_begins_with_the_first_picture(tmp_path, late):
    clip = write_clip(tmp_path / "late.mkv", [grey(30)] * 25, begins=np.arange(25) / 25 + late)
    write_with_sound(tmp_path / "a.mkv", clip, click(0.5), RATE)
    wave, rate = read_sound(tmp_path / "a.mkv")
    assert rate == RATE and wave.dtype == np.float32 and wave.ndim == 1
    assert abs(np.abs(wave).argmax() / RATE - 0.5) < 0.05


def test_a_video_without_sound_is_refused(tmp_path):
    with pytest.raises(VideoError, match=r"mute.mp4: has no sound$"):
        read_sound(write_clip(tmp_path / "mute.mp4", [grey(30)] * 3))


def test_a_turned_video_stays_turned(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", [grey(30)] * 3)
    clip.write_bytes(turned(clip.read_bytes(), 1))
    write_with_sound(tmp_path / "b.mp4", clip, click(0.01, 0.12), RATE)
    assert shown_size(tmp_path / "b.mp4") == (32, 48)


def test_what_can_not_be_written_is_refused(tmp_path):
    with pytest.raises(VideoError, match="a.wav: is no name of a video; end it in .mp4"):
        write_with_sound(tmp_path / "a.wav", CLIP, click(0.5), RATE)
    foreign = write_clip(tmp_path / "a.avi", [grey(30)] * 3, codec="wmv2")
    with pytest.raises(VideoError, match="a.mp4: wmv2 does not go into it"):
        write_with_sound(tmp_path / "a.mp4", foreign, click(0.1), RATE)
    assert not (tmp_path / "a.mp4").exists()

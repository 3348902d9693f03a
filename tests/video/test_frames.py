"""Videos become pictures at 25 a second, as a player shows them, or one line that says why not."""

from fractions import Fraction

import numpy as np
import pytest
from clips import grey, turned, write_clip

from metis_jax.files.inputs import InputError
from metis_jax.video.errors import VideoError
from metis_jax.video.frames import read_frames, shown_size, size_of

pytestmark = pytest.mark.extra("video", "av")


def levels(path):
    """What tells the pictures of a clip of `grey` apart."""
    return [round(float(picture.mean())) for picture in read_frames(path)]


@pytest.mark.parametrize("rate", [Fraction(25, 2), 25, Fraction(30000, 1001), 50, 60])
def test_pictures_are_those_shown_in_the_middle_of_each_twenty_fifth(tmp_path, rate):
    shown = np.arange(round(2 * rate)) * 3 % 200 + 20
    path = write_clip(tmp_path / "a.mp4", map(grey, shown), rate)
    found = levels(path)
    assert len(found) == 50
    middles = [Fraction(2 * k + 1, 50) for k in range(50)]
    # A middle that lies where two frames meet may be of either one: clocks of files are coarse.
    either = [{int(shown[int((at + slack) * rate)]) for slack in (-Fraction(1, 500), 0)} for at in middles]
    assert all(any(abs(level - one) <= 3 for one in own) for level, own in zip(found, either, strict=True))


def test_frames_are_held_until_the_next_one(tmp_path):
    path = write_clip(tmp_path / "a.mkv", map(grey, (30, 90, 150, 210)), begins=(0, 0.4, 0.44, 1.2))
    assert np.allclose(levels(path), [30] * 10 + [90] + [150] * 19 + [210], atol=3)


def test_time_begins_with_the_first_frame(tmp_path):
    path = write_clip(tmp_path / "a.mkv", map(grey, (30, 90)), begins=(7, 7.04))
    assert np.allclose(levels(path), [30, 90], atol=3)


@pytest.mark.parametrize("number", [1, 3])
def test_short_clips(tmp_path, number):
    assert len(levels(write_clip(tmp_path / "a.mp4", map(grey, range(20, 20 + number))))) == number


@pytest.mark.parametrize("quarters", range(4))
def test_pictures_are_upright(tmp_path, quarters):
    picture = grey(40)
    picture[:16, :24] = 220  # the corner at the top left
    path = write_clip(tmp_path / "a.mp4", [picture])
    path.write_bytes(turned(path.read_bytes(), quarters))
    [found] = read_frames(path)
    due = np.rot90(picture, -quarters)
    assert found.shape == due.shape and shown_size(path) == due.shape[1::-1]
    assert np.abs(found.astype(int) - due).mean() < 4


def test_pixels_are_square(tmp_path):
    path = write_clip(tmp_path / "a.mp4", [grey(90, (36, 48))], aspect=Fraction(4, 3))
    [found] = read_frames(path)
    assert found.shape == (36, 64, 3) and shown_size(path) == (64, 36)


def test_large_pictures_are_averaged_down(tmp_path):
    checks = (np.indices((120, 160)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    [found] = read_frames(write_clip(tmp_path / "a.mp4", [checks]), largest=40)
    assert found.shape == (30, 40, 3) and np.ptp(found[5:-5, 5:-5]) < 20
    assert size_of(3840, 2160) == (1280, 720) and size_of(2160, 3840) == (720, 1280) and size_of(360, 288) == (360, 288)


def _sound(path):
    import soundfile

    soundfile.write(path, np.zeros(1600), 16000, format="WAV")


def _truncated(path):
    write_clip(path, map(grey, np.arange(100) % 200 + 20))
    data = path.read_bytes()
    media, index = data.index(b"mdat") - 4, data.index(b"moov") - 4
    size = int.from_bytes(data[media : media + 4], "big")
    assert index == media + size
    # The index first, as files for the web have it: the rest of such a file is what gets lost.
    path.write_bytes(_shifted(data[:media] + data[index:], len(data) - index) + data[media : media + size // 2])


def _shifted(head, by):
    place = head.index(b"stco") + 12
    count = int.from_bytes(head[place - 4 : place], "big")
    table = np.frombuffer(head[place : place + 4 * count], ">u4") + by
    return head[:place] + table.astype(">u4").tobytes() + head[place + 4 * count :]


def _without_index(path):
    write_clip(path, [grey(90)] * 50)
    path.write_bytes(path.read_bytes()[:-500])


def _unknown_codec(path):
    write_clip(path, [grey(90)])
    path.write_bytes(path.read_bytes().replace(b"mp4v", b"zzzz").replace(b"esds", b"zzzz"))


def _picture(path):
    import av

    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 48, 32, "rgb24", Fraction(1, 25)
    path.write_bytes(bytes(encoder.encode(av.VideoFrame.from_ndarray(grey(90), format="rgb24"))[0]))


@pytest.mark.parametrize(
    "made, said",
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_text("not a video\n" * 99), "can not be read as a video"),
        (lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"), "can not be read as a video"),
        (_sound, "has no video stream (only sound)"),
        (_picture, "can not be read as a video"),
        (_without_index, "can not be read as a video"),
        (_truncated, "of the 4.00 s that its header tells of"),
        (_unknown_codec, "codec"),
    ],
)
def test_what_is_no_whole_video_is_refused_in_one_line(tmp_path, made, said):
    path = tmp_path / "a.mp4"
    made(path)
    with pytest.raises(VideoError) as error:
        list(read_frames(path))
    assert str(error.value).startswith(f"{path}: ") and said in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path / "none.mp4", tmp_path):
        with pytest.raises(InputError):
            list(read_frames(path))


def test_a_clock_that_leaps_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.mkv", map(grey, (30, 90)), begins=(0, 500))
    with pytest.raises(VideoError, match="no frame between 0.0 s and 500.0 s"):
        list(read_frames(path))

"""The sound of M4A, AAC and video files."""

import sys
from pathlib import Path

import numpy as np
import pytest

from metis_jax.audio import files
from metis_jax.audio.waves import AudioError, read_wave

RATE = 24_000
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)
CLIP = Path(__file__).parents[1] / "golden" / "video" / "face.mp4"
needs_av = pytest.mark.extra("video", "av")


def write(path, codec="aac", rate=RATE, wave=TONE):
    """A stereo file, the same on both sides."""
    import av

    with av.open(str(path), "w") as target:
        sound = target.add_stream(codec, rate=rate)
        sound.layout = "stereo"
        for begin in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(np.tile(wave[None, begin : begin + 1024], (2, 1)), "fltp", "stereo")
            frame.sample_rate, frame.pts = rate, begin
            target.mux(sound.encode(frame))
        target.mux(sound.encode(None))
    return path


@needs_av
@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "a.mp4", "a.mkv", "a.mov", "a.avi", "a.flv"])
def test_a_tone_is_heard_whole(tmp_path, name):
    path = write(tmp_path / name, rate=44_100) if name == "a.flv" else write(tmp_path / name)
    wave = files.read_wave(path)
    seconds = len(TONE) / wave.rate
    assert wave.seconds == pytest.approx(seconds, abs=0.1) and files.seconds(path) == pytest.approx(seconds, abs=0.5)
    spectrum = np.abs(np.fft.rfft(wave.samples[: wave.rate]))
    assert spectrum.argmax() == pytest.approx(440 * wave.rate / RATE, abs=2)
    assert np.abs(wave.samples).max() == pytest.approx(0.3, abs=0.05)
    same, rate = read_wave(path.read_bytes())  # as shards keep it
    assert rate == wave.rate and np.array_equal(same, wave.samples)
    pieces = list(files.stream_wave(path, 16_000))
    assert sum(map(len, pieces)) == pytest.approx(16_000 * seconds, rel=0.05)


@needs_av
def test_what_has_no_sound_or_half_of_it_is_named(tmp_path):
    path = write(tmp_path / "a.m4a")
    (tmp_path / "half.m4a").write_bytes(path.read_bytes()[:5000])
    with pytest.raises(AudioError, match="half.m4a: is damaged MP4 or M4A"):
        files.read_wave(tmp_path / "half.m4a")
    import av

    with av.open(str(CLIP)) as clip:
        if not clip.streams.audio:
            with pytest.raises(AudioError, match="face.mp4: has no sound in it"):
                files.read_wave(CLIP)


def test_without_the_extra_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        AudioError, match=r"face.mp4: is MP4 or M4A, which needs PyAV; pip install 'metis_jax\[video\]'"
    ):
        files.read_wave(CLIP)

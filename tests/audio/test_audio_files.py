import numpy as np
import pytest
import soundfile

from metis_jax.audio import files
from metis_jax.audio.files import Wave
from metis_jax.audio.waves import AudioError


def tone(rate, seconds=1.0, channels=1):
    t = np.arange(int(rate * seconds)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * t).astype(np.float32)
    return np.stack([wave] * channels, axis=1)


def write(path, samples, rate=16000, **kwargs):
    soundfile.write(path, samples, rate, **kwargs)
    return path


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000, 192000])
@pytest.mark.parametrize("channels", [1, 8])
def test_any_rate_and_channel_count(tmp_path, rate, channels):
    path = write(tmp_path / "a.wav", tone(rate, channels=channels), rate)
    whole = files.read_wave(path)
    assert whole.rate == rate and whole.seconds == 1
    stream = files.stream_wave(path, 16000)
    streamed = np.concatenate(list(stream))
    assert abs(len(streamed) - 16000) <= 1 and stream.seconds == 1
    np.testing.assert_allclose(streamed[1000:-1000], tone(16000)[1000:-1000, 0][: len(streamed) - 2000], atol=2e-3)


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_compressed_files(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", tone(24000), 24000)
    assert files.read_wave(path).seconds == pytest.approx(1, abs=0.1)
    assert len(np.concatenate(list(files.stream_wave(path, 16000)))) == pytest.approx(16000, abs=1600)


def test_streaming_equals_resampling_at_once(tmp_path):
    noise = np.random.default_rng(0).normal(size=25 * 22050).astype(np.float32) * 0.1
    path = write(tmp_path / "a.wav", noise, 22050, subtype="FLOAT")
    pieces = list(files.stream_wave(path, 16000))
    assert len(pieces) == 3
    np.testing.assert_allclose(np.concatenate(pieces), Wave(noise, 22050).at(16000), atol=1e-5)


def nan(path):
    samples = tone(16000)
    samples[100] = np.nan
    return write(path, samples, subtype="FLOAT")


def text(path):
    path.write_text("this is no audio")
    return path


def truncated(path):
    write(path.with_suffix(".flac"), tone(16000))
    data = path.with_suffix(".flac").read_bytes()
    path.write_bytes(data[:20])
    return path


BAD = {
    "missing": (lambda path: path, "no such file"),
    "directory": (lambda path: path.parent, "is not a file"),
    "text": (text, "is not audio"),
    "no bytes": (lambda path: path.touch() or path, "is not audio"),
    "truncated": (truncated, "is not audio"),
    "empty": (lambda path: write(path, np.zeros((0, 1))), "0.000 s of audio; at least 0.1 s"),
    "short": (lambda path: write(path, tone(16000, 0.05)), "0.050 s of audio; at least 0.1 s"),
    "silent": (lambda path: write(path, np.zeros(16000)), "is silent"),
    "nan": (nan, "not finite"),
}


@pytest.mark.parametrize("make, message", BAD.values(), ids=BAD)
def test_bad_files_are_one_line_with_the_name(tmp_path, make, message):
    path = make(tmp_path / "a.wav")
    for read in (files.read_wave, lambda path: list(files.stream_wave(path, 16000))):
        with pytest.raises(AudioError, match=message) as error:
            read(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_limit_on_the_length_is_checked_before_reading(tmp_path):
    with pytest.raises(AudioError, match="1.0 s of audio; at most 0.5 s are allowed"):
        files.read_wave(write(tmp_path / "a.wav", tone(16000)), maximum_seconds=0.5)


def test_clipped_input_is_reported_and_used(tmp_path, caplog):
    path = write(tmp_path / "a.wav", np.clip(20 * tone(16000), -1, 1))
    assert files.read_wave(path).seconds == 1
    assert "a.wav: is clipped" in caplog.text
    caplog.clear()
    list(files.stream_wave(path, 16000))
    assert "a.wav: is clipped" in caplog.text


def test_floating_point_samples_beyond_full_scale_are_not_clipped(tmp_path, caplog):
    path = write(tmp_path / "a.wav", 32768 * tone(16000), subtype="FLOAT")
    files.check_wave(files.read_wave(path), "source")
    assert not caplog.records


def test_channels_that_cancel_are_not_called_silence(tmp_path):
    path = write(tmp_path / "a.wav", tone(16000, channels=2) * [1, -1])
    with pytest.raises(AudioError, match="channels are averaged, for they cancel"):
        files.read_wave(path)


@pytest.mark.parametrize("name", ["\udce9.wav", 83 * "語" + ".flac", "a b\n'.ogg", "A.MP3", "a.Aiff"])
def test_any_name_that_the_file_system_takes(tmp_path, name):
    path = tmp_path / name
    with files.write_wave(path, 24000) as writer:
        writer.write(tone(24000)[:, 0])
    assert files.read_wave(path).seconds == pytest.approx(1, abs=0.1) and files.read_wave(path).rate == 24000
    assert files.seconds(path) == pytest.approx(1, abs=0.1) and list(tmp_path.iterdir()) == [path]


def test_a_long_ogg_does_not_overflow_the_stack(tmp_path):
    seconds = 100
    with files.write_wave(tmp_path / "a.ogg", 24000) as writer:
        writer.write(np.tile(tone(24000)[:, 0], seconds))
    assert files.seconds(tmp_path / "a.ogg") == seconds


def test_written_in_pieces(tmp_path):
    path = tmp_path / "out.wav"
    with files.write_wave(path, 24000) as writer:
        for piece in np.split(tone(24000)[:, 0], 4):
            writer.write(piece)
    assert writer.seconds == 1
    back, rate = soundfile.read(path, dtype="float32")
    assert rate == 24000
    np.testing.assert_allclose(back, tone(24000)[:, 0], atol=1e-4)


def test_nothing_is_left_behind_by_a_failure(tmp_path):
    path = tmp_path / "out.wav"
    path.write_text("before")
    with pytest.raises(RuntimeError), files.write_wave(path, 24000) as writer:
        writer.write(tone(24000)[:, 0])
        raise RuntimeError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name, message",
    [
        ("a.txt", "audio is not written as '.txt'; use one of .wav, .flac, .ogg, .mp3, .aiff"),
        ("a.raw", "audio is not written as '.raw'"),  # has no rate
        ("a.xi", "audio is not written as '.xi'"),  # always of 44.1 kHz
        ("a", "audio is not written as ''"),
        ("none/a.wav", "does not exist"),
        ("dir.wav", "is a directory"),
        (252 * "a" + ".wav", "File name too long"),
    ],
)
def test_impossible_outputs_are_refused(tmp_path, name, message):
    (tmp_path / "dir.wav").mkdir()
    with pytest.raises(AudioError, match=message):
        files.check_output(tmp_path / name)

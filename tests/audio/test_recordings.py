"""All of a sound file is read, and no more promised, whatever its headers say."""

import io

import numpy as np
import pytest
import soundfile
from sound_bytes import (
    RATE,
    encoded,
    flac_of_unknown_length,
    flac_that_counts,
    speechlike,
    variable_mp3,
    wav_of_a_crash,
    without_table,
)

from metis_jax.audio import files
from metis_jax.audio.waves import AudioError, read_wave
from metis_jax.data.corpus.corpus import Corpus
from metis_jax.data.corpus.prepare import PrepareConfig, packed_audio, prepare

WAVE = speechlike(3.0)
WAV, FLAC, OGG, OPUS, CONSTANT = (
    encoded(WAVE, kind, subtype)
    for kind, subtype in (("WAV", None), ("FLAC", None), ("OGG", None), ("OGG", "OPUS"), ("MP3", None))
)
VARIABLE = variable_mp3(WAVE)
TAG = b"ID3\x04\x00\x00\x00\x00\x10\x00" + b"\xff\xf3\x88\xc4" * 512  # of 2 kB that look like frames
OLD_TAG = b"TAG" + bytes(125)

READ_WHOLE = {
    "wav": (WAV, 3),
    "wav of a crash": (wav_of_a_crash(WAV), 3),
    "float wav of a crash": (wav_of_a_crash(encoded(WAVE, "WAV", "FLOAT")), 3),
    "wav twice": (WAV + WAV, 6),
    "wav and one of a crash": (WAV + wav_of_a_crash(WAV), 6),
    "flac": (FLAC, 3),
    "flac from a pipe": (flac_of_unknown_length(FLAC), 3),
    "flac that counts a part of itself": (flac_that_counts(FLAC, 8_000), 3),
    "flac that counts one sample": (flac_that_counts(encoded(WAVE, "FLAC", "PCM_24"), 1), 3),
    "flac twice, either counting a part": (2 * flac_that_counts(FLAC, 8_000), 6),
    "flac twice": (FLAC + flac_of_unknown_length(FLAC), 6),
    "ogg": (OGG, 3),
    "ogg three times": (3 * OGG, 9),
    "ogg and opus": (OGG + OPUS, 6),
    "opus twice": (OPUS + OPUS, 6),
    "mp3": (CONSTANT, 3),
    "mp3 without a table": (without_table(CONSTANT), 3),
    "mp3 of a variable rate": (VARIABLE, 3),
    "mp3 of a variable rate from a pipe": (without_table(VARIABLE), 3),
    "mp3 twice": (VARIABLE + VARIABLE, 6),
    "mp3 twice from a pipe": (2 * without_table(VARIABLE), 6),
    "mp3 whose table tells of half": (VARIABLE + without_table(VARIABLE), 6),
    "mp3 with tags": (TAG + VARIABLE + OLD_TAG, 3),
    "mp3 with tags from a pipe": (TAG + without_table(VARIABLE), 3),
    "mp3 with junk inside": (VARIABLE + 20_000 * b"\xff" + b"\xff\xfb\x90" + VARIABLE, 6),
    "mp3 twice with tags": (TAG + VARIABLE + OLD_TAG + TAG + CONSTANT, 6),
}


@pytest.mark.parametrize(("data", "seconds"), READ_WHOLE.values(), ids=READ_WHOLE)
def test_all_of_a_file_is_read(tmp_path, caplog, data, seconds):
    wave, rate = read_wave(data)
    assert rate == RATE and len(wave) / rate == pytest.approx(seconds, abs=0.17)
    path = tmp_path / "a.audio"
    path.write_bytes(data)
    np.testing.assert_array_equal(files.read_wave(path, maximum_seconds=seconds + 0.2).samples, wave)
    np.testing.assert_array_equal(np.concatenate(list(files.stream_wave(path, RATE))), wave)
    assert files.seconds(path) == pytest.approx(seconds, abs=0.2)
    assert not caplog.records
    with pytest.raises(AudioError, match=r"s of audio; at most 2 s"):
        files.read_wave(path, maximum_seconds=2.0)


def test_what_is_read_of_an_mp3_without_its_table_is_its_sound():
    whole, _ = read_wave(VARIABLE)
    found, _ = read_wave(without_table(VARIABLE))
    delay = int(np.argmax(np.correlate(found, whole[: RATE * 2], "valid")))
    assert 0 < delay < 0.1 * RATE  # of the encoder, which the table would have told
    np.testing.assert_allclose(found[delay : delay + len(whole)], whole[: len(found) - delay], atol=1e-4)


CUT = {
    "mp3": VARIABLE[: len(VARIABLE) * 6 // 10],
    "mp3 with a hole": VARIABLE[:5000] + bytes(700) + VARIABLE[5700:],
    "wav": WAV[: len(WAV) // 2],
    "the second of two wav": WAV + WAV[: len(WAV) // 2],
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT)
def test_what_is_shorter_than_its_header_tells_is_said(tmp_path, caplog, data):
    with pytest.raises(AudioError, match=r"a: is cut off after \d\.\d\d s of \d\.\d\d s"):
        read_wave(data, "a")
    (tmp_path / "a.audio").write_bytes(data)
    files.read_wave(tmp_path / "a.audio")
    assert "a.audio: is cut off after" in caplog.text


def changed(data: bytes, place: int, value: int, count: int = 4) -> bytes:
    return data[:place] + value.to_bytes(count, "little") + data[place + count :]


REFUSED = {
    "half a flac from a pipe": (flac_of_unknown_length(FLAC)[: len(FLAC) // 2], "is damaged"),
    "two rates": (VARIABLE + encoded(WAVE, "MP3", rate=24_000), "16000 samples per second, and 24000 from 3.0 s on"),
    "one sample a second": (changed(WAV, 24, 1), "has 1 samples per second; 1000 to 1000000 are read"),
    "many samples a second": (changed(WAV, 24, 2**31 - 1), "are read"),
    "tags alone": (TAG, "is not audio that libsndfile can read"),
    "one frame": (without_table(VARIABLE)[:288], "is not audio that libsndfile can read"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(tmp_path, data, message):
    path = tmp_path / "a.audio"
    path.write_bytes(data)
    with pytest.raises(AudioError, match=message) as raised:
        files.read_wave(path)
    assert str(path) in str(raised.value) and "object at" not in str(raised.value)


def test_what_is_kept_in_shards_can_be_sought_in(tmp_path):
    """Lengths are those of the whole; the bytes are kept where libsndfile alone finds them all."""
    cases = {"one.ogg": OGG, "two.ogg": OGG + OGG, "pipe.mp3": without_table(VARIABLE), "table.mp3": VARIABLE}
    cases["flac from a pipe.flac"] = flac_of_unknown_length(encoded(WAVE[::-1], "FLAC"))
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
    kept = {name: packed_audio(str(tmp_path / name)) for name in cases}
    assert {name for name in cases if kept[name] == cases[name]} == {"one.ogg", "table.mp3"}
    report = prepare(tmp_path, tmp_path / "out", PrepareConfig())
    assert report["records"] == len(cases)
    corpus = Corpus([tmp_path / "out"])
    for index in range(len(cases)):
        record = corpus[index]
        assert record.samples == len(soundfile.read(io.BytesIO(record.audio))[0])
        assert record.seconds == pytest.approx(6 if record.id == "two" else 3, abs=0.1)

"""What the page's buttons do; counting stands for the models."""

import numpy as np
import pytest
import soundfile
from mini_chain import CountingEngine

from metis_jax.app.spectrogram import coloured, figure, loudness
from metis_jax.app.studio import Asked, Studio
from metis_jax.audio.files import Wave
from metis_jax.inference.metis import Metis
from metis_jax.inference.voices import Voices

NOISE = (0.1 * np.random.default_rng(0).normal(size=16000)).astype(np.float32)


class _Bundle:
    tasks = ("se", "tse", "vc", "tts", "l2s")


@pytest.fixture
def studio(tmp_path):
    engine = CountingEngine()
    engine.bundle = _Bundle()
    return Studio(Metis(engine), Voices(tmp_path / "voices"))


@pytest.fixture
def noise(tmp_path):
    soundfile.write(tmp_path / "noise.flac", NOISE, 16000)
    return str(tmp_path / "noise.flac")


def test_every_task_gives_sound(studio, noise, tmp_path):
    np.save(tmp_path / "lips.npy", np.zeros((25, 4), np.float32))
    for asked, before, name in [
        (Asked(task="se", source=noise, steps=2), 1.0, "noise.se.wav"),
        (Asked(task="vc", source=noise, voice=noise, seed=3), 1.0, "noise.vc.wav"),
        (Asked(task="l2s", source=str(tmp_path / "lips.npy")), None, "lips.l2s.wav"),
    ]:
        shares = []
        made = studio.make(asked, shares.append)
        assert (made.name, made.after.seconds, shares[0]) == (name, 1.0, 0.0)
        assert (made.before and made.before.seconds) == before


def test_the_second_of_two_faces_is_read(studio, monkeypatch):
    read = []
    lips = np.zeros((25, 4), np.float32)
    monkeypatch.setattr(studio.metis, "read_lips", lambda video, face=None: read.append(face) or lips)
    for face in ({}, {"face": 2}):
        studio.make(Asked(task="l2s", source="two.mp4", **face), lambda share: None)
    assert [face for face in read if face] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "there is no recording yet"),
        ({"task": "l2s"}, "there is no video yet"),
        ({"task": "vc", "source": "NOISE"}, "there is no voice yet"),
        ({"source": "BOOK"}, r"^book.wav: is not audio"),
        ({"source": "LONG"}, r"^long.flac: .* at most 600 s"),
        ({"task": "vc", "source": "NOISE", "voice": "LONG"}, r"^long.flac: .* at most 20 s"),
        ({"source": "NOISE", "steps": 0}, "steps is"),
        ({"source": "NOISE", "seed": -1}, "seed is -1"),
        ({"task": "tts", "voice": "NOISE"}, "there is no text yet"),
        ({"task": "tts", "voice": "NOISE", "text": "word " * 9999}, "has 49995 characters; at most 2000"),
        ({"task": "tts", "voice": "NOISE", "text": "word"}, "the words of the voice are missing"),
    ],
)
def test_what_can_not_be_done_is_one_line_without_folders(studio, noise, tmp_path, changes, reason):
    (tmp_path / "book.wav").write_text("It was the best of times. " * 1000)
    soundfile.write(tmp_path / "long.flac", np.tile(NOISE[:1000], 601), 1000)
    places = {"NOISE": noise, "BOOK": str(tmp_path / "book.wav"), "LONG": str(tmp_path / "long.flac")}
    asked = Asked(**{"task": "se"} | {key: places.get(value, value) for key, value in changes.items()})
    with pytest.raises(ValueError, match=reason) as raised:
        studio.make(asked, lambda share: None)
    assert "\n" not in str(raised.value) and str(tmp_path) not in str(raised.value)


def test_what_progress_raises_ends_the_work(studio, noise):
    class _Enough(Exception):
        pass

    def stop(share):
        raise _Enough

    with pytest.raises(_Enough):
        studio.make(Asked(task="se", source=noise), stop)


def test_a_tone_is_a_bright_line_at_its_height():
    tone = Wave(np.sin(2 * np.pi * 3000 * np.arange(24000) / 24000).astype(np.float32), 24000)
    bright = loudness(tone)
    assert bright.shape[0] == 256 and abs(int(bright[:, 50].argmax()) - 192) <= 1  # 3 of 12 kHz, from below
    assert coloured(bright).max() > 200 and (coloured(np.zeros((1, 1))) < 10).all()
    picture = figure(tone, "<b>")
    assert 'alt="Spectrogram, &lt;b&gt;: 1.0 s, 0 to 12 kHz"' in picture and "data:image/png;base64,iVBOR" in picture
    assert loudness(Wave(np.tile(tone.samples, 60), 24000)).shape[1] <= 901

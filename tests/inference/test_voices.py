"""Voices that are kept."""

import numpy as np
import pytest
import soundfile

from metis_jax.inference.voices import Voices, default_folder

NOISE = 0.1 * np.random.default_rng(0).normal(size=16000)


def test_a_voice_is_kept_with_its_words(tmp_path):
    voices = Voices(tmp_path / "voices")
    assert voices.names() == []
    soundfile.write(tmp_path / "one.wav", NOISE, 16000)
    voices.add("Ann's voice", tmp_path / "one.wav", " Good day. ")
    voices.add("Zoë", tmp_path / "one.wav")
    assert voices.names() == ["Ann's voice", "Zoë"]
    assert (voices.words("Ann's voice"), voices.words("Zoë")) == ("Good day.", "")
    np.testing.assert_allclose(soundfile.read(voices.path("Zoë"))[0], NOISE, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../one", "a voice can not be called '../one'; use up to 60"),
        ("", "can not be called ''"),
        (".one", "can not be called"),
        ("x" * 61, "can not be called"),
        ("Ann", "there is a voice 'Ann' already; choose another"),
        ("Bob", "noise.wav: 21.0 s of audio; at most 20 s"),
    ],
)
def test_what_can_not_be_kept_is_named(tmp_path, name, reason):
    voices = Voices(tmp_path / "voices")
    soundfile.write(tmp_path / "ann.wav", NOISE, 16000)
    voices.add("Ann", tmp_path / "ann.wav")
    soundfile.write(tmp_path / "noise.wav", np.tile(NOISE, 21), 16000)
    with pytest.raises(ValueError, match=reason):
        voices.add(name, tmp_path / "noise.wav")
    with pytest.raises(ValueError, match="there is no voice 'Bob'; there is: Ann"):
        voices.path("Bob")


def test_voices_lie_with_the_data_of_their_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "metis_jax" / "voices"

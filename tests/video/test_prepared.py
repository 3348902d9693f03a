"""Videos of people who speak become records: their mouths, and what is heard with them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from clips import grey, write_clip

from metis_jax.audio.waves import read_wave
from metis_jax.cli import prepare as command
from metis_jax.data.corpus.corpus import Corpus
from metis_jax.video.faces import Faces
from metis_jax.video.sound import read_sound, write_with_sound

pytestmark = pytest.mark.extra("video", "av")
CLIP = Path(__file__).parents[1] / "golden" / "video" / "face.mp4"
POINTS = np.array([[(152, 155), (203, 156), (175, 184), (155, 214), (194, 215)]], np.float32)
FACE = Faces(np.array([[125, 120, 225, 235]], np.float32), np.ones(1, np.float32), POINTS)
NOBODY = Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
NOISE = 0.3 * np.random.default_rng(0).uniform(-1, 1, 24_000).astype(np.float32)


@pytest.fixture(autouse=True)
def face_is_found(monkeypatch):
    """The face is where it is in the clip, and in no picture of one level; the networks are tested elsewhere."""
    found = lambda: lambda picture: FACE if picture.std() > 1 else NOBODY  # noqa: E731
    for module in ("mouths", "faces"):
        monkeypatch.setattr(f"metis_jax.video.{module}.mtcnn", found)


def prepared(tmp_path, source, *flags):
    status = command.main([f"--input={source}", f"--output={tmp_path / 'out'}", "--processes=1", *flags])
    corpus = Corpus([tmp_path / "out"]) if not status else ()
    return status, {corpus[index].id: corpus[index] for index in range(len(corpus))}


def refused(tmp_path):
    rows = map(json.loads, (tmp_path / "out" / "refused.jsonl").read_text().splitlines())
    return {row["id"]: (row["reason"], row["detail"]) for row in rows}


def test_a_folder_of_videos_has_mouths_sound_and_texts(tmp_path):
    folder = tmp_path / "in" / "anna"
    folder.mkdir(parents=True)
    write_with_sound(folder / "hello.mp4", CLIP, NOISE, 24_000)
    (folder / "hello.txt").write_text("Hello there.")
    shutil.copy(CLIP, folder / "twin.mp4")
    soundfile.write(folder / "twin.flac", NOISE[:23_000], 24_000)
    write_with_sound(folder / "wall.mp4", write_clip(tmp_path / "wall.mp4", [grey(90)] * 25), NOISE, 24_000)
    write_clip(folder / "mute.mp4", [grey(90)] * 25)
    write_with_sound(folder / "longer.mp4", CLIP, np.tile(NOISE, 2), 24_000)
    soundfile.write(folder / "alone.wav", NOISE[::-1], 24_000)
    status, records = prepared(tmp_path, tmp_path / "in", "--mouths")
    assert status == 0 and set(records) == {"anna/hello", "anna/twin", "anna/alone"}
    hello, twin = records["anna/hello"], records["anna/twin"]
    assert (hello.kind, hello.text, hello.speaker) == ("video", "Hello there.", "anna")
    for record in (hello, twin):
        crops = record.arrays["mouth_crops"]
        assert crops.shape == (25, 96, 96) and crops.dtype == np.uint8 and crops.std() > 5
    np.testing.assert_allclose(read_wave(hello.audio)[0], read_sound(folder / "hello.mp4")[0], atol=1e-4)
    assert twin.samples == 23_000 and records["anna/alone"].kind == "speech" and not records["anna/alone"].arrays
    found = refused(tmp_path)
    assert found["anna/wall"] == ("no mouth", f"{folder / 'wall.mp4'}: no face is found in any of 25 pictures")
    assert found["anna/mute"] == ("unreadable", f"{folder / 'mute.mp4'}: has no sound")
    assert found["anna/longer"][0] == "no mouth" and "lasts 1.00 s, its sound 2.0" in found["anna/longer"][1]
    assert not (tmp_path / "out" / ".prepare").exists()


def test_a_manifest_names_video_and_sound(tmp_path):
    soundfile.write(tmp_path / "said.flac", NOISE, 24_000)
    shutil.copy(CLIP, tmp_path / "face.mp4")
    rows = [
        {"id": "beside", "path": "said.flac", "video": "face.mp4"},
        {"id": "of", "path": "face.mp4", "kind": "video", "audio": "said.flac"},
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, records = prepared(tmp_path, tmp_path / "m.jsonl", "--mouths")
    assert status == 0
    assert {name: (record.kind, "mouth_crops" in record.arrays) for name, record in records.items()} == {
        "beside": ("speech", True),
        "of": ("video", True),
    }


def test_without_the_flag_a_folder_has_its_sounds_alone(tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(CLIP, tmp_path / "in" / "a.mp4")
    soundfile.write(tmp_path / "in" / "b.wav", NOISE, 24_000)
    assert set(prepared(tmp_path, tmp_path / "in")[1]) == {"b"}


def test_a_package_that_is_missing_is_named_before_anything_is_read(tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    shutil.copy(CLIP, tmp_path / "in" / "a.mp4")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    status, _ = prepared(tmp_path, tmp_path / "in", "--mouths")
    assert status == 2 and capsys.readouterr().err.count('pip install "metis_jax[video]"') == 1

"""Corpora in their published layouts, tiny and synthetic, through the builder scripts and back into a pipeline."""

import json
import pathlib
import subprocess
import sys

import pytest
import soundfile
from synthetic_voice import voice

from metis_jax.data.batches.pipeline import Pipeline, PipelineConfig
from metis_jax.data.corpus.corpus import Corpus
from metis_jax.data.corpus.items import ManifestError, list_items

ROOT = pathlib.Path(__file__).resolve().parents[3]


def save(path: pathlib.Path, seed: int = 0, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voice(seed, 1.5, rate), rate)


def write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def libritts(root):
    for subset, speaker in (("train-clean-100", "19"), ("dev-clean", "84")):
        stem = root / subset / speaker / "198" / f"{speaker}_198_000000_000000"
        save(stem.with_suffix(".wav"), int(speaker), 24_000)
        write(stem.with_suffix(".normalized.txt"), "Hello there.\n")
    facts = ("Hello there.", "en", "CC BY 4.0")
    return {("libritts_19", *facts, False), ("libritts_84", *facts, True)}


def vctk(root):
    for microphone in (1, 2):
        save(root / "wav48_silence_trimmed" / "p225" / f"p225_001_mic{microphone}.flac", microphone, 48_000)
    write(root / "txt" / "p225" / "p225_001.txt", "Please call Stella.\n")
    return {("vctk_p225", "Please call Stella.", "en", "CC BY 4.0", False)}


def emilia(root):
    folder = root / "DE_B00000" / "DE_B00000_S00000" / "mp3"
    save(folder / "DE_B00000_S00000_W000000.mp3")
    row = {"text": " Guten Tag.", "speaker": "DE_B00000_S00000", "language": "de", "dnsmos": 3.3}
    write(folder / "DE_B00000_S00000_W000000.json", json.dumps(row))
    return {("DE_B00000_S00000", "Guten Tag.", "de", "CC BY-NC 4.0", False)}


def noise(root):
    save(root / "street" / "a.wav")
    save(root / "rirs" / "hall.wav", 1)
    return {("", "", "", "", False)}


LAYOUTS = {"libritts": libritts, "vctk": vctk, "emilia": emilia, "noise": noise}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_read_as_published(layout, tmp_path):
    expected = LAYOUTS[layout](tmp_path)
    items = list_items(tmp_path, layout)
    assert {(item.speaker, item.text, item.language, item.license, item.held_out) for item in items} == expected
    if layout == "noise":
        assert {item.id: item.kind for item in items} == {"street/a": "noise", "rirs/hall": "rir"}


def test_a_builder_script_writes_what_a_pipeline_reads(tmp_path):
    for seed in range(4):
        stem = tmp_path / "in" / "train-clean-100" / str(seed) / "1" / f"{seed}_1_0_0"
        save(stem.with_suffix(".wav"), seed, 24_000)
        write(stem.with_suffix(".normalized.txt"), f"Number {seed}.")
    command = [sys.executable, str(ROOT / "data/tfds_builders/libritts.py"), f"--input={tmp_path / 'in'}"]
    done = subprocess.run([*command, f"--output={tmp_path / 'out'}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "train: 4 records" in done.stdout
    folder = tmp_path / "out" / "libri_tts" / "1.0.0"
    corpus = Corpus([folder])
    texts = {corpus[index].speaker: corpus[index].text for index in range(4)}
    assert texts == {f"libritts_{seed}": f"Number {seed}." for seed in range(4)}
    assert set(corpus.columns["license"]) == {"CC BY 4.0"}
    pipeline = Pipeline(PipelineConfig(stage="acoustic_codec", shards=(str(folder),), rows=2, buckets=(25,)))
    batch = next(pipeline.iterator())
    assert batch["wave"].shape == (2, 12_000) and abs(batch["wave"]).max() > 0.01
    # The second opening takes the index that the first one left.
    assert (folder / "records.index.json").exists()
    assert Corpus([folder]).fingerprint() == corpus.fingerprint()
    twice = Corpus([folder], held_out=[folder])
    assert twice.columns["id"].tolist() == 2 * [corpus[index].id for index in range(4)]
    assert twice.columns["held_out"].tolist() == [False] * 4 + [True] * 4


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match="no audio files"):
        list_items(tmp_path, "vctk")
    with pytest.raises(ManifestError, match="layout is 'timit'"):
        list_items(tmp_path, "timit")

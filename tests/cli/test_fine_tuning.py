"""Fine-tuning as its user does it: files of one speaker, the command of the README, a bundle that speaks."""

import json

import numpy as np
import pytest
import soundfile
from commands import ROOT, run_script
from official_folder import write_official

from metis_jax.cli.tune import main
from metis_jax.clock import CODEC_RATE
from metis_jax.data.corpus.synthetic import synthetic_wave
from metis_jax.weights.bundle import Bundle

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs a command at the root of the repository: what it prints."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))

    def command(*words: str) -> str:
        status = run_script(*words)
        captured = capfd.readouterr()
        assert status == 0, captured.err
        return captured.out + captured.err

    return command


@pytest.mark.slow
def test_from_files_of_one_speaker_to_a_bundle_that_enhances(run, tmp_path, capfd):
    rng = np.random.default_rng(0)
    for index in range(12):
        soundfile.write(tmp_path / f"{index}.wav", synthetic_wave(rng, 2.0, pitch=120.0, size=1.0), CODEC_RATE)
    lines = [{"path": f"{index}.wav", "speaker": "anna"} for index in range(12)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    small = ("data.buckets=(150,)", "tokens_per_device=300", "eval_batches=1", "license=CC0")
    tune = ["se", f"{tmp_path / 'mine.jsonl'}", "-o", f"{tmp_path / 'tuned'}", "--steps=4"]
    assert main([*tune, *(f"--set={pair}" for pair in small)]) == 0
    said = capfd.readouterr()
    assert said.err.count("validation loss") == 4 and "no recorded noise" in said.err
    assert said.out.count("$ python -m metis_jax.cli.") == 3 and said.out.endswith(f"--bundle={tmp_path / 'tuned'}\n")
    tuned, nano = Bundle(tmp_path / "tuned"), Bundle("nano")
    assert tuned.tasks["se"].adapter == "se_adapter" and tuned.tasks["vc"] == nano.tasks["vc"]
    assert tuned.decoding == nano.decoding and tuned.license == f"{nano.license}; further training: CC0"
    noisy = ROOT / "metis_jax" / "assets" / "noisy.flac"
    said = run(
        "infer.py", f"--bundle={tmp_path / 'tuned'}", "--task=se", f"--source={noisy}", f"--output={tmp_path / 'c.wav'}"
    )
    assert "RTF" in said
    wave, rate = soundfile.read(tmp_path / "c.wav")
    assert rate == 24_000 and abs(len(wave) / rate - soundfile.info(noisy).duration) < 0.1 and np.std(wave) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("words", ["lora", "full"])
def test_a_converted_bundle_is_the_base_and_is_tuned_in_its_place(run, tmp_path, words):
    folder = write_official(tmp_path / "official")
    run("convert.py", f"--official={folder}", f"--output={tmp_path / 'base'}")
    train = (
        "train.py",
        f"--config=configs/finetune_se.py:{words}",
        f"--workdir={tmp_path / 'run'}",
        f"--config.base={tmp_path / 'base'}",
        "--config.synthetic=24",
        "--config.data.buckets=(100,)",
        "--config.tokens_per_device=300",
        "--config.steps=2",
        "--config.eval_every=0",
        "--config.sample_every=0",
    )
    run(*train)
    run(*train, f"--export={tmp_path / 'tuned'}", f"--onto={tmp_path / 'base'}")
    base, tuned = Bundle(tmp_path / "base"), Bundle(tmp_path / "tuned")
    assert tuned.license == "CC BY-NC 4.0; further training: not stated"
    assert tuned.tasks.keys() == base.tasks.keys() and tuned.tasks["tse"] == base.tasks["tse"]
    served = tuned.load_generator("se")
    assert (served.lora is not None) == (words == "lora") and served.config.condition == "gated"

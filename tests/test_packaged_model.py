"""What ships in the package: a bundle that enhances, and a noisy recording to try it on."""

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, users_environment

from metis_jax.audio.files import read_wave
from metis_jax.weights.bundle import Bundle

ASSETS = Path(str(resources.files("metis_jax"))) / "assets"
NOISY = ASSETS / "noisy.flac"


def depth_of_pauses(path):
    """dB between the loud and the quiet frames of a recording: how much is left to be heard in its pauses."""
    samples = read_wave(path).at(16_000)
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    power = 10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-10)
    return np.percentile(power, 90) - np.percentile(power, 5)


def test_the_bundle_serves_its_tasks_within_40_mb():
    bundle = Bundle(ASSETS / "nano")
    assert set(bundle.tasks) == {"se", "tse", "vc"}
    assert sum(file.stat().st_size for file in (ASSETS / "nano").iterdir()) < 40e6
    assert "CC BY" in json.loads((ASSETS / "nano" / "config.json").read_text())["license"]


@pytest.mark.slow
def test_the_first_command_of_the_readme_quiets_the_pauses(tmp_path):
    output = tmp_path / "clean.wav"
    command = [sys.executable, "infer.py", "--task=se", f"--source={NOISY}", f"--output={output}"]
    subprocess.run(command, cwd=ROOT, env=users_environment(), check=True)
    noisy, clean = read_wave(NOISY), read_wave(output)
    assert clean.rate == 24_000 and abs(clean.seconds - noisy.seconds) < 1 / 24_000
    assert depth_of_pauses(output) > depth_of_pauses(NOISY) + 6

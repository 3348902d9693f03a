"""The Python of README and docs runs as it stands: by counting in place of models, and README by the packaged ones."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from mini_chain import CountingEngine

from metis_jax.inference.metis import Metis

ROOT = Path(__file__).parents[1]


def python_of(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_of_inference(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Metis, "from_pretrained", lambda name: Metis(CountingEngine()))
    samples = 0.1 * np.random.default_rng(0).normal(size=16000)
    for name in ("noisy", "words", "voice"):
        soundfile.write(f"{name}.wav", samples, 16000)
    namespace = {"samples": samples, "rate": 16000}
    for block in python_of("docs/inference.md"):
        exec(block, namespace)
    assert {"clean.wav", "converted.wav", "voice.safetensors"} <= {path.name for path in tmp_path.iterdir()}


def test_the_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    engine = CountingEngine()
    engine.bundle = SimpleNamespace(tasks=("se", "vc"))
    monkeypatch.setattr(Metis, "from_pretrained", lambda name: Metis(engine))
    display = SimpleNamespace(Audio=lambda samples, rate: None)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    notebook = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    namespace = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec("".join(cell["source"]), namespace)
    assert {"clean.wav", "voice.safetensors"} <= {path.name for path in tmp_path.iterdir()}
    assert capsys.readouterr().out == "nothing.wav: no such file\n"


@pytest.mark.slow
def test_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    [block] = python_of("README.md")
    exec(block.replace("/tmp/clean.wav", str(tmp_path / "clean.wav")), {})
    noisy = soundfile.info(ROOT / "metis_jax" / "assets" / "noisy.flac")
    assert soundfile.info(tmp_path / "clean.wav").frames == round(noisy.duration * 24000)

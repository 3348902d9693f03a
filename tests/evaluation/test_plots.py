"""Pictures: the right axes, and files that appear whole."""

import json

import numpy as np
import pytest
import soundfile

from metis_jax.audio.files import Wave
from metis_jax.evaluation import plots
from metis_jax.evaluation.errors import EvaluationError

RATE = 16_000


def _tone(hertz: float, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def test_spectrogram_peaks_at_the_tone():
    picture = plots.spectrogram(_tone(2000.0), RATE)
    bins = picture.shape[0] - 1
    assert picture.max() == pytest.approx(20 * np.log10(0.5), abs=0.1)  # the amplitude of the tone
    assert np.all(np.abs(np.argmax(picture, axis=0) / bins * RATE / 2 - 2000) < RATE / 2 / bins)


def test_running_mean_keeps_constants_and_lines():
    line = np.arange(200, dtype=np.float64)
    np.testing.assert_allclose(plots.running_mean(line), line)
    noisy = np.tile([0.0, 2.0], 100)
    assert np.std(plots.running_mean(noisy)[20:-20]) < 0.2


def test_figure_shares_its_axes():
    figure = plots.spectrogram_figure({"a": Wave(_tone(500.0), RATE), "b": Wave(_tone(500.0, 1.0), RATE)})
    titles = [axes.get_title(loc="left") for axes in figure.axes[:2]]
    assert titles == ["a", "b"]
    assert figure.axes[0].get_xlim() == (0, 1.0)
    assert figure.axes[0].get_ylim() == (0, 8.0)


def test_commands_write_pictures(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", _tone(500.0), RATE)
    log = tmp_path / "metrics.jsonl"
    log.write_text("".join(json.dumps({"step": i, "loss": 1 / (i + 1), "note": "x"}) + "\n" for i in range(5)))
    assert plots.main(["--output", str(tmp_path / "s.png"), f"noisy={tmp_path / 'a.wav'}"]) == 0
    assert plots.main(["--output", str(tmp_path / "c.png"), "--keys=loss", str(log)]) == 0
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert plots.main(["--output", str(tmp_path / "d.png"), "--keys=accuracy", str(log)]) == 2
    assert "there are loss" in capsys.readouterr().err
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".jsonl", ".png", ".png", ".wav"]


def test_splits_are_separate_curves(tmp_path):
    log = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 1, "split": "train", "loss": 2.0},
        {"step": 1, "split": "eval", "loss": 3.0},
        {"step": 2, "loss": 1},
    ]
    log.write_text("\n".join(map(json.dumps, lines)))
    assert plots.read_curves(log) == {"loss": ([1, 2], [2.0, 1]), "eval/loss": ([1], [3.0])}


def test_a_log_without_steps_is_refused(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"loss": 1}\n')
    with pytest.raises(EvaluationError, match="line 1 is no JSON object with a step"):
        plots.read_curves(tmp_path / "m.jsonl")


def test_inputs_of_one_name_are_refused_and_named_ones_drawn(tmp_path, capsys):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "metrics.jsonl").write_text('{"step": 1, "loss": 1}\n{"step": 2, "loss": 2}\n')
    logs = [str(tmp_path / folder / "metrics.jsonl") for folder in ("one", "two")]
    output = tmp_path / "loss.png"
    assert plots.main([f"--output={output}", *logs]) == 2
    assert "are both called 'metrics'; name them, as in NAME=" in capsys.readouterr().err and not output.exists()
    assert plots.main([f"--output={output}", *(f"{name}={log}" for name, log in zip("ab", logs, strict=True))]) == 0
    assert output.exists()

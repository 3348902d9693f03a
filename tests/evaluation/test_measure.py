"""What is measured, what is not, and why; with fake models, so that no package of the eval extra is needed."""

import numpy as np
import pytest
import soundfile

from metis_jax.evaluation import measure
from metis_jax.evaluation.errors import EvaluationError, MissingEvalExtra, require
from metis_jax.evaluation.measure import Evaluator, measures_of
from metis_jax.evaluation.pairing import Example

RATE = 16_000


class _Recognizer:
    """Says what its table has for the number of samples that it hears."""

    name = "fake recogniser"
    heard = {16000: "one two three", 16001: "one two", 16002: ""}

    def __init__(self, folder, *, language):
        pass

    def transcribe(self, wave, rate):
        return self.heard[len(wave)]


class _Encoder:
    """A voice is the mean of the wave and its sign: easy to place."""

    name = "fake encoder"

    def embed(self, wave, rate):
        return np.array([1.0, float(np.mean(wave))])


@pytest.fixture
def fake_models(monkeypatch):
    monkeypatch.setattr(measure, "Recognizer", _Recognizer)
    monkeypatch.setattr(measure, "speaker_encoder", lambda name: _Encoder())


@pytest.fixture
def write(tmp_path):
    def write_wave(name: str, samples: int = 16000, offset: float = 0.0):
        wave = 0.1 * np.random.default_rng(0).normal(size=samples) + offset
        soundfile.write(tmp_path / name, wave, RATE, subtype="FLOAT")
        return tmp_path / name

    return write_wave


def test_whatever_an_example_raises_is_its_reason(fake_models, write, monkeypatch):
    class Strange(_Recognizer):
        def transcribe(self, wave, rate):
            raise IndexError("no segments\nat all")

    monkeypatch.setattr(measure, "Recognizer", Strange)
    example = Example(name="x", output=write("o.wav"), reference=write("r.wav"), text="One two three four!")
    values = Evaluator(language="de").measure(example, measures_of(["wer", "dwer", "si_sdr"], ["reference"]))
    assert values["wer"].reason == values["dwer"].reason == "IndexError: no segments at all"
    assert values["si_sdr"].value is not None


def test_error_rates_weigh_words(fake_models, write):
    example = Example(name="x", output=write("o.wav", 16001), reference=write("r.wav"), text="One two three four!")
    rows = measures_of(["wer", "cer", "dwer"], ["reference"])
    values = Evaluator(language="de").measure(example, rows)
    assert (values["wer"].value, values["wer"].weight) == (0.5, 4)
    assert (values["dwer"].value, values["dwer"].weight) == (pytest.approx(1 / 3), 3)
    assert values["cer"].value == pytest.approx(9 / 15)
    each = Evaluator(language="de", is_pooled=False).measure(example, rows)
    assert {key: (value.value, value.weight) for key, value in each.items()} == {
        key: (value.value, 1) for key, value in values.items()
    }


def test_titles_say_how_error_rates_are_counted():
    def titles(**how):
        return [row.title for row in measures_of(["wer", "cer", "stoi"], [], **how)]

    assert titles() == ["WER (pooled) %", "CER (pooled) %", "STOI"]
    assert titles(is_pooled=False) == ["WER (mean of utterances) %", "CER (mean of utterances) %", "STOI"]
    assert titles(language="zh") == ["WER (characters, pooled) %", "STOI"]
    assert [row.title for row in measures_of(["cer"], [], language="zh")] == ["CER (pooled) %"]
    assert all(row.scale == 100 for row in measures_of(["wer"], [], language="ja"))


def test_nearer_target_prefers_the_prompt_and_falls_back_to_the_reference(fake_models, write):
    places = {"output": write("o.wav", offset=0.5), "interferer": write("i.wav", offset=-0.5)}
    reference, prompt = write("r.wav", offset=0.4), write("p.wav", offset=-0.9)
    rows = measures_of(["similarity"], ["reference", "interferer", "prompt"])
    by_reference = Evaluator().measure(Example(name="x", reference=reference, **places), rows)
    by_prompt = Evaluator().measure(Example(name="x", reference=reference, prompt=prompt, **places), rows)
    assert by_reference["target_over_interferer"].value == 1.0
    assert by_prompt["target_over_interferer"].value == 0.0
    assert by_reference["sim_prompt"].reason == "no prompt given"


def test_reasons_instead_of_numbers(fake_models, write, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    rows = measures_of(["wer", "dwer", "si_sdr", "mel", "duration"], [])
    alone = Evaluator().measure(Example(name="x", output=write("o.wav")), rows)
    assert {value.reason for value in alone.values()} == {"no text given", "no reference given"}
    silent = Evaluator().measure(Example(name="x", output=tmp_path / "silent.wav", reference=write("r.wav")), rows)
    assert "is silent" in silent["mel"].reason
    assert all(value.value is None for value in silent.values())
    speechless = Example(name="x", output=write("o.wav"), reference=write("quiet.wav", 16002))
    assert "hears no words" in Evaluator().measure(speechless, measures_of(["dwer"], []))["dwer"].reason


def test_a_missing_package_is_a_reason_that_names_the_command(write, monkeypatch):
    def absent(name, *_):
        raise MissingEvalExtra(name)

    monkeypatch.setattr("metis_jax.evaluation.signals.require", absent)
    example = Example(name="x", output=write("o.wav"), reference=write("r.wav"))
    values = Evaluator().measure(example, measures_of(["pesq", "mel"], ["reference"]))
    assert values["pesq"].reason == 'needs the package pesq: pip install "metis_jax[eval]"'
    assert values["mel"].value == 0.0


def test_require_names_the_package():
    with pytest.raises(MissingEvalExtra, match="needs the package no_such_package"):
        require("no_such_package.part")


def test_rows_depend_on_what_is_given():
    keys = [row.key for row in measures_of(["similarity", "mel"], ["reference", "source"])]
    assert keys == ["sim_reference", "sim_source", "target_over_source", "mel"]
    with pytest.raises(EvaluationError, match="'mos' is unknown"):
        measures_of(["mos"], [])

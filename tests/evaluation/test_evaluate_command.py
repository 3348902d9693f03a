"""`evaluate.py` from flags to files, and one clear line for every misuse."""

import csv
import json

import numpy as np
import pytest
import soundfile

from metis_jax.cli.evaluate import main

RATE = 16_000


@pytest.fixture
def corpus(tmp_path):
    """Three clean waves, the same with noise at 10 dB, and a copy of the clean ones."""
    rng = np.random.default_rng(0)
    for name in ("1", "2", "3"):
        clean = rng.normal(size=RATE)
        for folder, wave in (("clean", clean), ("noisy", clean + rng.normal(size=RATE) * 10**-0.5), ("copy", clean)):
            (tmp_path / folder).mkdir(exist_ok=True)
            soundfile.write(tmp_path / folder / f"{name}.wav", 0.1 * wave, RATE, subtype="FLOAT")
    return tmp_path


def _run(corpus, *flags):
    return main([f"--references={corpus / 'clean'}", *flags])


def test_table_of_two_systems(corpus, capsys):
    outputs = f"--outputs=noisy={corpus / 'noisy'},copy={corpus / 'copy'}"
    assert _run(corpus, outputs, "--metrics=si_sdr,mel,duration", f"--report={corpus / 'report'}") == 0
    printed = capsys.readouterr().out
    assert "| measure | better | noisy (3) | copy (3) |" in printed
    assert "| SI-SDR, dB | higher | 10." in printed or "| SI-SDR, dB | higher | 9.9" in printed
    assert "100.00 [100.00, 100.00]" in printed
    rows = list(csv.DictReader((corpus / "report.csv").open()))
    assert len(rows) == 2 * 3 * 4
    first = (corpus / "report.json").read_text()
    assert json.loads(first)["systems"]["copy"]["summary"]["mel"]["mean"] == 0
    assert _run(corpus, outputs, "--metrics=si_sdr,mel,duration", f"--report={corpus / 'report'}") == 0
    assert (corpus / "report.json").read_text() == first


def test_the_first_system_is_compared_with_the_others_or_two_that_are_named(corpus, capsys):
    outputs = ",".join(f"{name}={corpus / folder}" for name, folder in [("a", "noisy"), ("b", "copy"), ("c", "noisy")])
    rest = ("--metrics=mel", "--report=")
    assert _run(corpus, f"--outputs={outputs}", *rest) == 0
    printed = capsys.readouterr().out
    assert "| b - a | mel distance, dB | -" in printed
    assert "| c - a | mel distance, dB | 0.00 [0.00, 0.00] | 1.000 | 0% | 0% | 3 |" in printed
    assert "c - b" not in printed
    assert _run(corpus, f"--outputs={outputs}", "--compare=c,b", *rest) == 0
    printed = capsys.readouterr().out
    assert " | 100% | 0% | 3 |" in printed and "| b - c |" in printed and "b - a" not in printed
    assert "Holm" not in printed


def test_references_left_over_are_counted(corpus, capsys):
    (corpus / "noisy" / "3.wav").unlink()
    assert _run(corpus, f"--outputs={corpus / 'noisy'}", "--metrics=mel", "--report=") == 0
    assert "--references: 1 reference files have no output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --outputs"),
        (["--outputs={noisy}", "--metrics=mos"], "'mos' is unknown"),
        (["--outputs={noisy}", "--metrics="], "--metrics is empty; give some of"),
        (["--outputs=/absent"], "no such folder or file"),
        (["--outputs=a={noisy},a={copy}"], "'a' is there twice"),
        (["--outputs=a="], "a path is missing"),
        (["--outputs={noisy}", "--texts={clean}/1.wav"], "1.wav: is not UTF-8 text"),
        (["--outputs={noisy}", "--report=/absent/x.md"], "does not exist"),
        (
            ["--outputs={noisy}", "--speaker_model=ecapa"],
            "=ecapa: use one of voicefilter, resemblyzer, or",
        ),
        (["--outputs={noisy}", "--speaker_model=/absent.onnx"], "/absent.onnx: no such file"),
        (
            ["--outputs=a={noisy},b={copy}", "--compare=a,c"],
            "=a,c: name two of the systems in --outputs, a, b",
        ),
        (["--outputs={noisy}", "--wer=mean"], "wer"),
        (["--outputs={noisy}", "--jobs=x.jsonl"], "--jobs needs --suite, one of seedtts"),
        (["--outputs={noisy}", "--suite=lrs"], "--suite=lrs needs --suite_path=DIR"),
        (["--outputs={noisy}", "--suite=lrs", "--suite_path={noisy}"], "leave out --references"),
        (["--outputs={noisy}", "--seed=-1"], "seed"),
        (["--outputs={noisy}", "--metrics=dwer", "--recognizer={clean}"], "no model.bin"),
        (["--outputs={noisy}", "--colour=red"], "colour"),
        (["--outputs={noisy}", "stray"], "unexpected argument 'stray'"),
    ],
)
def test_misuse_is_one_line_and_status_two(corpus, capsys, flags, message):
    places = {name: corpus / name for name in ("clean", "noisy", "copy")}
    assert _run(corpus, *(flag.format(**places) for flag in flags)) == 2
    complaint = capsys.readouterr().err.strip().splitlines()
    assert len(complaint) == 1
    assert complaint[0].startswith("evaluate: ")
    assert message in complaint[0]


def test_a_damaged_output_is_a_reason_and_not_the_end(corpus, capsys):
    (corpus / "noisy" / "2.wav").write_bytes(b"RIFF and no more")
    assert _run(corpus, f"--outputs={corpus / 'noisy'}", "--metrics=mel", "--report=") == 0
    printed = capsys.readouterr().out
    assert "(2 of 3)" in printed
    assert "is not audio that libsndfile can read" in printed

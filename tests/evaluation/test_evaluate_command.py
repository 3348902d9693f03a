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
        (["--outputs={noisy}", "--speaker_model=ecapa"], "speaker_model"),
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

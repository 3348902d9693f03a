"""Every suite in a small copy of its published layout: jobs that `metis-infer` takes, scores as computed by hand.

A wave is known by its number of samples: a table says what is heard in it and whose voice it has.
"""

import json

import numpy as np
import pytest
import soundfile

from metis_jax.cli.evaluate import main
from metis_jax.cli.requests import parse_request
from metis_jax.evaluation import measure, quality
from metis_jax.evaluation.errors import EvaluationError
from metis_jax.evaluation.suites import SUITES, read_suite, write_jobs

RATE = 16_000
ANN, BEN = (1.0, 0.0), (0.0, 1.0)
BOTH = (0.6, 0.8)  # a cosine of 0.6 with Ann, of 0.8 with Ben


class World:
    """Waves of distinct lengths, and what fake models make of them."""

    name = "table"

    def __init__(self):
        self.heard, self.voices = {}, {}

    def wave(self, path, heard="", voice=ANN):
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = RATE + len(self.heard)
        self.heard[samples], self.voices[samples] = heard, voice
        soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=samples), RATE)

    def transcribe(self, wave, rate):
        return self.heard[len(wave)]

    def embed(self, wave, rate):
        return np.array(self.voices[len(wave)])


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(measure, "Recognizer", lambda folder, language: world)
    monkeypatch.setattr(measure, "speaker_encoder", lambda name: world)
    return world


def _jobs(suite, place, tmp_path):
    """{name of output: request}, as `metis-infer --list` reads them."""
    flags = [f"--suite={suite}", f"--suite_path={place}", f"--jobs={tmp_path / 'made.jsonl'}", "--language=de"]
    assert main(flags) == 0
    lines = (tmp_path / "made.jsonl").read_text().splitlines()
    requests = [parse_request(line, SUITES[suite].task, {}) for line in lines]
    return {one.output.removeprefix(f"{tmp_path}/made/").removesuffix(".wav"): one for one in requests}


def _scores(suite, place, tmp_path, *flags):
    """{measure: mean} of the outputs in the folder that the jobs name."""
    common = [f"--suite={suite}", f"--suite_path={place}", f"--outputs={tmp_path / 'made'}", "--language=de"]
    assert main([*common, f"--report={tmp_path / 'report.json'}", *flags]) == 0
    [system] = json.loads((tmp_path / "report.json").read_text())["systems"].values()
    return {key: pytest.approx(one["mean"]) for key, one in system["summary"].items()}


def test_seedtts_averages_utterances(world, tmp_path, capsys):
    place = tmp_path / "en"
    world.wave(place / "prompt-wavs" / "p.wav", voice=ANN)
    lines = ["a|Hello there.|prompt-wavs/p.wav|One two three four.", "b|Hello there.|prompt-wavs/p.wav|Five."]
    (place / "meta.lst").write_text("\n".join(lines) + "\n")
    jobs = _jobs("seedtts", place, tmp_path)
    script = jobs["a"].script
    assert (script.text, script.prompt_text, script.language) == ("One two three four.", "Hello there.", "de")
    world.wave(tmp_path / "made" / "a.wav", "one two three", BOTH)
    world.wave(tmp_path / "made" / "b.wav", "six", ANN)
    assert _scores("seedtts", place, tmp_path) == {"wer": (1 / 4 + 1) / 2, "sim_prompt": 0.8}
    assert _scores("seedtts", place, tmp_path, "--wer=pooled", "--metrics=wer") == {"wer": 2 / 5}
    main(["--suite=seedtts", f"--suite_path={place}", f"--outputs={tmp_path / 'made'}", "--report=", "--language=zh"])
    printed = capsys.readouterr().out
    assert "| WER (characters, mean of utterances) % | lower |" in printed
    assert "| 2.28 (en), 2.30 (zh) |" in printed
    assert "The paper's speech has the true length; these jobs give none" in printed
    (tmp_path / "made" / "b.wav").unlink()
    main(["--suite=seedtts", f"--suite_path={place}", f"--outputs=ours={tmp_path / 'made'}", "--report="])
    assert "ours has no output for 1 of 2 items." in capsys.readouterr().out
    world.wave(tmp_path / "made" / "c.wav")
    assert main(["--suite=seedtts", f"--suite_path={place}", f"--outputs={tmp_path / 'made'}"]) == 2
    assert "1 of 2 files of --outputs are none of the suite's: c" in capsys.readouterr().err


def test_vctk_gives_the_next_speakers_voice(world, tmp_path):
    place = tmp_path / "VCTK"
    for speaker, voice in (("p225", ANN), ("p226", BEN)):
        for number in ("001", "002", "003"):
            for microphone in ("mic1", "mic2"):
                name = f"{speaker}_{number}_{microphone}.flac"
                world.wave(place / "wav48_silence_trimmed" / speaker / name, voice=voice)
            text = place / "txt" / speaker / f"{speaker}_{number}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text("Please call Stella.\n")
    jobs = _jobs("vctk_vc", place, tmp_path)
    assert list(jobs) == ["p225_001_p226", "p225_002_p226", "p226_001_p225", "p226_002_p225"]
    assert jobs["p225_001_p226"].source.endswith("p225/p225_001_mic1.flac")
    assert jobs["p225_001_p226"].prompt.endswith("p226/p226_003_mic1.flac")
    for name in jobs:
        world.wave(tmp_path / "made" / f"{name}.wav", "please call Steven", BOTH)
    assert _scores("vctk_vc", place, tmp_path) == {
        "wer": 1 / 3,
        "sim_prompt": (0.8 + 0.6) / 2,
        "sim_source": (0.6 + 0.8) / 2,
        "target_over_source": 0.5,
    }


def test_libri2mix_extracts_the_first_voice(world, tmp_path):
    place = tmp_path / "test"
    rows = ["mixture_ID,mixture_path,source_1_path,source_2_path,length"]
    for number in ("0001", "0002"):
        name = f"10-7-{number}_20-8-{number}"
        places = [f"{part}/{name}.wav" for part in ("mix_clean", "s1", "s2")]
        rows.append(f"{name},{','.join(places)},16000")
        for path, heard, voice in zip(places, ("", "one two three four", "no"), (BOTH, ANN, BEN), strict=True):
            world.wave(place / path, heard, voice)
    (place / "mixture_test_mix_clean.csv").write_text("\n".join(rows) + "\n")
    (place / "10-7.trans.txt").write_text("10-7-0001 ONE TWO THREE FIVE\n10-7-0002 ONE\n")
    jobs = _jobs("libri2mix", place, tmp_path)
    assert jobs["10-7-0001_20-8-0001"].source.endswith("mix_clean/10-7-0001_20-8-0001.wav")
    assert jobs["10-7-0001_20-8-0001"].prompt.endswith("s1/10-7-0002_20-8-0002.wav")
    world.wave(tmp_path / "made" / "10-7-0001_20-8-0001.wav", "one two three four", ANN)
    world.wave(tmp_path / "made" / "10-7-0002_20-8-0002.wav", "one", BEN)
    assert _scores("libri2mix", place, tmp_path) == {
        "wer": (1 + 0) / (4 + 1),
        "dwer": (0 + 3) / (4 + 4),
        "sim_prompt": 0.5,
        "sim_reference": 0.5,
        "sim_interferer": 0.5,
        "target_over_interferer": 0.5,
    }


def test_dns2020_pairs_by_the_number_of_the_file(world, tmp_path, monkeypatch, capsys):
    place = tmp_path / "with_reverb"
    for number in (0, 1):
        world.wave(place / "noisy" / f"clnsp1_train_69005_1_snr15_tl-21_fileid_{number}.wav")
        world.wave(place / "clean" / f"clean_fileid_{number}.wav")
    jobs = _jobs("dns2020", place, tmp_path)
    assert len(jobs) == 2
    for number, name in enumerate(jobs):
        assert jobs[name].source.endswith(f"noisy/{name}.wav") and name.endswith(f"_fileid_{number}")
        world.wave(tmp_path / "made" / f"{name}.wav")
    first = len(world.heard) - 2 + RATE

    def opinion(wave, rate):
        return quality.Opinion(3.0, 4.0, 2.0) if len(wave) == first else quality.Opinion(4.0, 4.0, 3.0)

    monkeypatch.setattr(quality, "dnsmos", opinion)
    assert _scores("dns2020", place, tmp_path) == {"dnsmos_sig": 3.5, "dnsmos_bak": 4.0, "dnsmos_ovrl": 2.5}
    assert [item.reference.name for item in read_suite("dns2020", place)] == [
        "clean_fileid_0.wav",
        "clean_fileid_1.wav",
    ]
    (place / "clean" / "clean_fileid_1.wav").unlink()
    with pytest.raises(EvaluationError, match="_fileid_1.wav: has no clean_fileid_1.wav beside it or in ../clean"):
        read_suite("dns2020", place)


def test_lrs_reads_what_is_said_in_a_clip(world, tmp_path):
    place = tmp_path / "main"
    (place / "631").mkdir(parents=True)
    for number, text in (("00001", "ONE TWO"), ("00002", "THREE FOUR")):
        (place / "631" / f"{number}.txt").write_text(f"Text:  {text}\nConf:  4\n\nWORD START END ASDSCORE\n")
        (place / "631" / f"{number}.mp4").write_bytes(b"a video")
    (place / "readme.txt").write_text("No clip.")
    jobs = _jobs("lrs", place, tmp_path)
    assert list(jobs) == ["631/00001", "631/00002"]
    assert jobs["631/00002"].video == str(place / "631" / "00002.mp4")
    world.wave(tmp_path / "made" / "631" / "00001.wav", "one two")
    world.wave(tmp_path / "made" / "631" / "00002.wav", "free four")
    assert _scores("lrs", place, tmp_path, "--metrics=wer") == {"wer": 1 / 4}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a|b|p.wav", "line 1 is 'a|b|p.wav'; expected utt|prompt_text|prompt_wav|text"),
        ("a|b|absent.wav|c", "1 of 1 files do not exist"),
        ("../a|b|p.wav|c", "../a: is no name of a file"),
        ("a|b|p.wav|c\na|b|p.wav|d", "two items share a name: a"),
        ("", "has no items of seedtts; SeedTTS-eval: one .lst file of lines utt|prompt_text|prompt_wav|text"),
    ],
)
def test_lists_that_are_otherwise_are_refused_by_name(world, tmp_path, line, message):
    world.wave(tmp_path / "p.wav")
    (tmp_path / "meta.lst").write_text(line)
    with pytest.raises(EvaluationError) as refused:
        read_suite("seedtts", tmp_path)
    assert message in str(refused.value)


def test_other_layouts_are_refused_by_name(tmp_path):
    def refusal(suite, place=tmp_path):
        with pytest.raises(EvaluationError) as refused:
            read_suite(suite, place)
        return str(refused.value)

    assert "no file *.lst" in refusal("seedtts")
    (tmp_path / "a.lst").touch(), (tmp_path / "b.lst").touch()
    assert "2 files *.lst" in refusal("seedtts")
    (tmp_path / "mixture_a.csv").write_text("mixture_ID,mixture_path\n")
    assert "has no column source_1_path, source_2_path" in refusal("libri2mix")
    for suite in ("vctk_vc", "dns2020", "lrs"):
        assert f"has no items of {suite}; " in refusal(suite)
    assert "no such folder" in refusal("lrs", tmp_path / "absent")
    with pytest.raises(EvaluationError, match="name a file FOLDER.jsonl"):
        write_jobs(tmp_path / "jobs", [], language=None)

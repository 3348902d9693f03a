"""The command line of inference for texts and lips: lengths, lists, refusals, the recogniser, and one run for real."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mini_chain import CountingEngine, write_mini_bundle

from metis_jax.audio.files import Wave
from metis_jax.cli import infer, infer_run
from metis_jax.evaluation.errors import MissingEvalExtra
from metis_jax.inference.metis import Metis
from metis_jax.inference.settings import Speech
from metis_jax.text.errors import MissingTextExtra
from metis_jax.text.frontend import TextFrontEnd
from metis_jax.text.vocabulary import encode_strictly

PHONES = "h|ə|l|oʊ|_|w|ɜː|l|d|."
PROMPT_PHONES = "|".join(["a|n"] * 5)
SPOKEN = ("--task=tts", "--prompt=voice.wav", f"--prompt_phones={PROMPT_PHONES}", "--output=out.wav")

SILENCE = Speech(Wave(np.zeros(2400, np.float32), 24000), np.zeros(0, np.int32), np.zeros((0, 1), np.int32))

needs_text = pytest.mark.extra("text", "phonemizer", "inflect", "jieba", "py3langid")


@pytest.fixture
def files(tmp_path):
    # 49 frames of either kind.
    soundfile.write(tmp_path / "voice.wav", 0.1 * np.random.default_rng(0).normal(size=15920), 16000)
    soundfile.write(tmp_path / "long.wav", np.full(31 * 8000, 0.1), 8000)
    np.save(tmp_path / "lips.npy", np.zeros((30, 4), np.float32))
    np.save(tmp_path / "wide.npy", np.zeros((30, 5), np.float32))
    np.savez(tmp_path / "many.npz", a=np.zeros(3))
    (tmp_path / "text.npy").write_text("no array")
    return tmp_path


@pytest.fixture
def run(files, monkeypatch, capsys):
    """Runs the command with counting in place of models: (exit status, lines of stdout, lines of stderr)."""
    monkeypatch.chdir(files)
    monkeypatch.setattr(Metis, "from_pretrained", lambda *_, lexicon, **__: Metis(CountingEngine(), lexicon=lexicon))

    def command(*arguments):
        status = infer.main(["--compilation_cache=off", "--bundle=none", *arguments])
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err.splitlines()

    return command


@pytest.mark.parametrize(
    ("arguments", "seconds", "rule"),
    [
        ((), 0.78, "by the number of phones in the prompt"),
        (("--speed=0.5",), 1.56, "by the number of phones in the prompt"),
        (("--seconds=1.5",), 1.5, "as given"),
        (("--length=phones",), 0.78, "by the number of phones in the prompt"),
    ],
)
def test_phones_are_spoken_and_the_length_rule_is_told(run, arguments, seconds, rule):
    status, out, err = run(*SPOKEN, f"--phones={PHONES}", *arguments)
    assert status == 0 and not err
    assert out[0] == f"out.wav: {seconds:.2f} s, length {rule}" and "RTF" in out[-1]
    assert soundfile.info("out.wav").duration == pytest.approx(seconds, abs=0.001)


@needs_text
def test_words_are_spoken(run, files):
    words = ("--text=Guten Tag.", "--prompt_text=Guten Morgen!", "--language=de")
    status, out, err = run("--task=tts", "--prompt=voice.wav", "--output=out.wav", *words)
    assert status == 0 and not err
    assert f"out.wav: {49 * 10 // 13 / 50:.2f} s, length by the bytes of both texts, as released" in out
    (files / "words.tsv").write_text("Tag\ta|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a\n")
    spelled = ("--task=tts", "--prompt=voice.wav", "--output=out.wav", "--lexicon=words.tsv", *words)
    status, out, err = run(*spelled)
    assert status == 0 and "length by the number of phones in the prompt" in out[0]
    status, _, err = run(*spelled, "--length=bytes")
    assert status == 2 and "sounds in 0.74 s are too many" in err[-1]


def test_lips_are_spoken(run):
    status, _, err = run("--task=l2s", "--features=lips.npy", "--output=out.wav")
    assert status == 0 and not err and soundfile.info("out.wav").duration == pytest.approx(1.2)
    status, _, err = run("--task=l2s", "--features=lips.npy", "--prompt=voice.wav", "--output=out.wav")
    assert status == 0 and not err and soundfile.info("out.wav").duration == pytest.approx(1.2, abs=0.021)


BAD = {
    "no text": (SPOKEN, "task tts needs --text=…"),
    "empty text": ((*SPOKEN, "--text="), "text is empty"),
    "no prompt": (SPOKEN[:1] + SPOKEN[2:] + ("--text=a",), "task tts needs --prompt=…"),
    "unknown language": ((*SPOKEN, "--text=a", "--language=xx"), "language: 'xx' is not known; use one of en, zh"),
    "text and phones": ((*SPOKEN, "--text=a", "--phones=a"), "both given"),
    "id out of range": ((*SPOKEN, "--phones=3 1024"), "1024 is out of range"),
    "seconds": ((*SPOKEN, "--phones=a", "--seconds=-1"), "seconds is -1.0; it must be positive"),
    "speed": ((*SPOKEN, "--phones=a", "--speed=0"), "speed is 0.0"),
    "seconds and speed": ((*SPOKEN, "--phones=a", "--seconds=1", "--speed=2"), "seconds and speed"),
    "length": ((*SPOKEN, "--phones=a", "--length=feet"), "length"),
    "too long": ((*SPOKEN, "--phones=" + "|".join(["a"] * 400)), "too long for one pass"),
    "prompt text": (
        ("--task=tts", "--prompt=voice.wav", f"--prompt_phones={PHONES}" + 70 * "|a", "--output=out.wav", "--phones=a"),
        "does not fit the prompt",
    ),
    "lexicon": ((*SPOKEN, "--phones=a", "--lexicon=none.tsv"), "lexicon: none.tsv: No such file"),
    "source": ((*SPOKEN, "--phones=a", "--source=voice.wav"), "task tts takes no source"),
    "long guided source": (
        ("--task=tse", "--source=long.wav", "--prompt=voice.wav", "--output=out.wav", "--phones=a"),
        "long.wav: 31.0 s do not fit one pass",
    ),
    "text of se": (("--task=se", "--source=voice.wav", "--output=out.wav", "--text=a"), "task se takes no text"),
    "text of a list": (("--task=tts", "--list=jobs.jsonl", "--text=a"), "--list stands instead of --text"),
    "language of an se list": (("--task=se", "--list=jobs.jsonl", "--language=en"), "--list stands instead of"),
    "no features": (("--task=l2s", "--output=out.wav"), "task l2s needs --features=…"),
    "missing features": (
        ("--task=l2s", "--features=none.npy", "--output=out.wav"),
        "none.npy: No such file",
    ),
    "bad features": (("--task=l2s", "--features=text.npy", "--output=out.wav"), "text.npy: not an .npy file"),
    "archive": (("--task=l2s", "--features=many.npz", "--output=out.wav"), "many.npz: has no array 'crops'; it has a"),
    "wide features": (("--task=l2s", "--features=wide.npy", "--output=out.wav"), "expected floats [frames, 4]"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_nothing(run, files, arguments, message):
    before = set(files.iterdir())
    status, out, err = run(*arguments)
    assert status == 2 and not out
    assert len(err) == 1 and err[0].startswith("infer: ") and message in err[0]
    assert set(files.iterdir()) == before


def test_a_list_of_texts(run, files):
    voice = {"prompt": "voice.wav", "prompt_phones": PROMPT_PHONES}
    jobs = [
        voice | {"phones": PHONES, "output": "a.wav"},
        voice | {"phones": PHONES, "output": "b.wav", "speed": 1},
        voice | {"phones": PHONES, "output": "c.wav", "seconds": 1},
        voice | {"phones": PHONES, "output": "d.wav", "seconds": "one"},
        voice | {"phones": PHONES, "output": "e.wav", "speed": True},
        voice | {"phones": "a b", "output": "f.wav"},
        voice | {"output": "g.wav"},
        {"phones": PHONES, "prompt_phones": PROMPT_PHONES, "output": "h.wav"},
        voice | {"phones": PHONES, "output": "i.wav", "pitch": 2},
    ]
    (files / "jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    status, out, err = run("--task=tts", "--list=jobs.jsonl", "--speed=0.5")
    assert status == 1
    expected = {
        4: "seconds is 'one'; expected float",
        5: "speed is True; expected float",
        6: "phonemes: 'a b' not in the table",
        7: "task tts needs the key 'text'",
        8: "task tts needs the key 'prompt'",
        9: "unknown key 'pitch'",
    }
    assert len(err) == len(expected)
    for number, message in expected.items():
        assert any(line.startswith(f"infer: line {number}: {message}") for line in err), (number, err)
    found = {path.name: soundfile.info(path).duration for path in files.glob("?.wav")}
    assert found == pytest.approx({"a.wav": 1.56, "b.wav": 0.78, "c.wav": 1.0}, abs=0.001)


def test_words_guide_the_extraction_of_a_speaker(run, files, monkeypatch):
    seen = []
    decode = CountingEngine.semantic_stage
    monkeypatch.setattr(
        CountingEngine,
        "semantic_stage",
        lambda self, task, jobs, *rest: seen.extend(jobs) or decode(self, task, jobs, *rest),
    )
    guided = {"source": "voice.wav", "prompt": "voice.wav", "phones": "h|ə|l", "output": "a.wav"}
    unguided = {"source": "voice.wav", "prompt": "voice.wav", "output": "b.wav"}
    (files / "jobs.jsonl").write_text("\n".join(map(json.dumps, [guided, unguided])))
    status, _, err = run("--task=tse", "--list=jobs.jsonl")
    assert status == 0 and not err
    assert [job.phones.tolist() for job in seen] == [[41, 57, 50], []]
    assert all(job.condition is not None for job in seen)
    assert run("--task=tse", *(f"--{key}={value}" for key, value in unguided.items()))[0] == 0
    assert seen[-1].phones is None


def test_the_words_of_the_prompt_come_first(run, monkeypatch):
    """As in text to speech, from which Omni knows texts: there the prompt's words are asked for, or heard."""
    seen = []
    monkeypatch.setattr(Metis, "transform", lambda self, *_, phones, **__: seen.extend(phones) or [SILENCE])
    arguments = ("--task=tse", "--source=voice.wav", "--prompt=voice.wav", "--output=out.wav", f"--phones={PHONES}")
    assert run(*arguments, f"--prompt_phones={PROMPT_PHONES}")[0] == 0
    assert seen.pop().tolist() == encode_strictly(PROMPT_PHONES) + encode_strictly(PHONES)
    assert run(*arguments)[0] == 0 and seen.pop().tolist() == encode_strictly(PHONES)

    monkeypatch.setattr(CountingEngine, "has_generator_of", lambda *_: True)
    monkeypatch.setattr(infer_run, "Recognizer", _Missing)
    status, _, err = run(*arguments)
    assert status == 2 and "prompt_text is missing" in err[0]
    assert run(*arguments, f"--prompt_phones={PROMPT_PHONES}")[0] == 0


class _Missing:
    """In place of a recogniser that is not installed."""

    def __init__(self, folder, *, language):
        raise MissingEvalExtra("needs the extra eval")


class _Heard:
    """In place of Whisper."""

    asked: list = []

    def __init__(self, folder, *, language):
        self.asked.append((folder, language))

    def transcribe(self, wave, rate):
        assert rate == 16000
        return "Good morning." if wave.any() else ""


@needs_text
def test_a_prompt_without_text_is_heard(run, monkeypatch):
    monkeypatch.setattr(infer_run, "Recognizer", _Heard)
    arguments = ("--task=tts", "--prompt=voice.wav", "--output=out.wav", "--text=Good day.", "--recognizer=folder")
    status, out, _ = run(*arguments)
    assert status == 0 and "voice.wav: heard 'Good morning.'" in out
    assert _Heard.asked == [("folder", "en")]


def test_a_missing_text_extra_is_told_with_its_remedy(run, monkeypatch):
    def missing(*_):
        raise MissingTextExtra("phonemizer")

    monkeypatch.setattr(TextFrontEnd, "read", missing)
    status, _, err = run(*SPOKEN, "--text=Good day.")
    assert status == 2 and len(err) == 1 and 'pip install "metis_jax[text]"' in err[0]


def test_a_missing_recogniser_is_told_with_its_remedy(run, monkeypatch):
    def missing(*_, **__):
        raise MissingEvalExtra("faster_whisper")

    monkeypatch.setattr(infer_run, "Recognizer", missing)
    status, _, err = run("--task=tts", "--prompt=voice.wav", "--output=out.wav", "--text=Good day.")
    assert status == 2 and len(err) == 1
    assert "prompt_text is missing; give it" in err[0] and 'pip install "metis_jax[eval]"' in err[0]


@pytest.mark.slow
@needs_text
def test_real_models(files, tmp_path):
    bundle = write_mini_bundle(tmp_path / "bundle", tasks=("tts",))
    command = [sys.executable, Path(__file__).parents[2] / "infer.py", "--task=tts", f"--bundle={bundle}"]
    command += ["--text=Good day.", "--prompt=voice.wav", "--prompt_text=Good morning!", "--language=en"]
    done = subprocess.run(
        [*command, "--steps=3", "--output=out.wav"], cwd=files, capture_output=True, text=True, check=True
    )
    assert "espeak-ng" in done.stdout and "length by the bytes of both texts" in done.stdout
    assert soundfile.info(files / "out.wav").duration == pytest.approx(49 * 9 // 13 / 50, abs=0.021)

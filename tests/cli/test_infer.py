"""The command line of inference: what it refuses and how, lists, and one run with real models."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from commands import users_environment
from mini_chain import CountingEngine, write_mini_bundle

from metis_jax.cli import infer, infer_run
from metis_jax.cli.infer_run import InferRun
from metis_jax.inference.metis import Metis


def noise(seconds, rate=16000, channels=1):
    return 0.1 * np.random.default_rng(0).normal(size=(int(seconds * rate), channels))


@pytest.fixture
def files(tmp_path):
    """Recordings good and bad; commands run beside them."""
    wave = noise(1.0)
    hole = wave.copy()
    hole[7] = np.nan
    for name, samples in {
        "good": wave,
        "long": noise(70),
        "wide": noise(1.0, 48000, 8),
        "odd": noise(44101 / 48000, 48000),
        "short": wave[:800],
        "empty": wave[:0],
        "silent": 0 * wave,
        "nan": hole,
        "long_prompt": noise(25),
    }.items():
        rate = 48000 if name in ("wide", "odd") else 16000
        soundfile.write(tmp_path / f"{name}.wav", samples, rate, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "link.wav").symlink_to("good.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "hollow").mkdir()
    (tmp_path / "good" / "more").mkdir(parents=True)
    for name in ("a.wav", "more/b.flac", "more/c.wav"):
        soundfile.write(tmp_path / "good" / name, wave, 16000)
    (tmp_path / "good" / "notes.txt").write_text("no sound")
    return tmp_path


@pytest.fixture
def run(files, monkeypatch, capsys):
    """Runs the command with counting in place of models: (exit status, lines of stdout, lines of stderr)."""
    monkeypatch.chdir(files)
    monkeypatch.setattr(Metis, "from_pretrained", lambda *args, **kwargs: Metis(CountingEngine()))
    monkeypatch.setattr(infer_run, "use_compilation_cache", lambda folder: None)

    def command(*arguments):
        status = infer.main(["--bundle=none", *arguments])
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err.splitlines()

    return command


@pytest.mark.parametrize("source, seconds", [("good", 1.0), ("odd", 22050 / 24000), ("long", 70.0)])
def test_one_file(run, source, seconds):
    status, out, err = run("--task=se", f"--source={source}.wav", "--output=out.wav")
    assert status == 0 and not err
    assert out[-1].startswith(f"out.wav: {seconds:.1f} s of audio; loading ") and "RTF" in out[-1]
    info = soundfile.info("out.wav")
    assert (info.samplerate, info.channels) == (24000, 1)
    assert info.frames == seconds * 24000


@pytest.mark.parametrize("task", ["vc", "tse"])
def test_with_a_prompt(run, task):
    status, _, err = run(f"--task={task}", "--source=good.wav", "--prompt=wide.wav", "--output=out.flac")
    assert status == 0 and not err and soundfile.info("out.flac").duration == 1


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("se good.wav", "good.se.wav"),
        ("se good.wav -o out.flac", "out.flac"),
        ("--task=se --source=good.wav", "good.se.wav"),
        ("vc good.wav --prompt=wide.wav --output=hollow", "hollow/good.wav"),
        ("--task=tse good.wav --prompt wide.wav", "good.tse.wav"),
    ],
)
def test_what_to_work_on_needs_no_flag(run, words, written):
    status, out, err = run(*words.split())
    assert status == 0 and not err and soundfile.info(written).frames == 24000
    assert out[-1].startswith(f"{written}: 1.0 s of audio; loading 0.0 s, compiling 0.0 s, computing ")


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("good", ["good.se/a.wav", "good.se/more/b.wav", "good.se/more/c.wav"]),
        ("good -o new/clean", ["new/clean/a.wav", "new/clean/more/b.wav", "new/clean/more/c.wav"]),
        ("good.wav odd.wav", ["good.se.wav", "odd.se.wav"]),
        ("good.wav odd.wav -o new", ["new/good.wav", "new/odd.wav"]),
    ],
)
def test_files_and_folders_are_done_together(run, files, words, written):
    before = set(files.rglob("*.*"))
    status, out, err = run("se", *words.split())
    assert status == 0 and not err and out[-1].startswith(f"{len(written)} files: ")
    assert sorted(path.relative_to(files).as_posix() for path in set(files.rglob("*.wav")) - before) == written


def test_of_a_folder_the_rest_is_done_too(run, files):
    (files / "good" / "text.wav").write_text("no audio")
    soundfile.write(files / "good" / "a.flac", noise(1.0), 16000)
    status, _, err = run("se", "good")
    assert status == 1 and len(list((files / "good.se").rglob("*.wav"))) == 3
    assert err == [
        "infer: good/a.wav: good.se/a.wav: is the output of good/a.flac too; name another",
        "infer: good/text.wav: is not audio that libsndfile can read (Format not recognised.)",
    ]


def test_a_long_file_has_a_bar_on_a_terminal(run, monkeypatch):
    bars = []

    @contextlib.contextmanager
    def bar(total, desc, **_):
        bars.append([desc, total, 0])
        yield SimpleNamespace(update=lambda steps: bars[-1].__setitem__(2, bars[-1][2] + steps))

    def counted(stage, steps_of):
        return lambda self, *given: given[-1](steps_of(given)) or stage(self, *given)

    monkeypatch.setattr(infer_run, "tqdm", bar)
    monkeypatch.setattr(infer_run.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(CountingEngine, "semantic_stage", counted(CountingEngine.semantic_stage, lambda _: 10))
    monkeypatch.setattr(CountingEngine, "acoustic_stage", counted(CountingEngine.acoustic_stage, lambda _: 40))
    assert run("se", "long.wav")[0] == 0
    assert bars == [["long.wav", 150, 150]]


BAD = {
    "no task": ("--source=good.wav", "give --task"),
    "unknown task": ("--task=xy --source=good.wav --output=out.wav", "--task"),
    "unknown flag": ("--task=se --sorce=good.wav --output=out.wav", "sorce"),
    "no task but a file": ("good.wav", "unexpected argument 'good.wav'; give --task, or first of all"),
    "source twice": (
        "se good.wav --source=wide.wav",
        "source is given twice, as 'good.wav' and",
    ),
    "text without quotes": ("tts Good day. --prompt=good.wav -o out.wav", "unexpected argument 'day.'; put a text in"),
    "list and file": ("se good.wav --list=jobs.jsonl", "--list stands instead of 'good.wav'"),
    "folder without sounds": ("se hollow", "hollow: has no files of .wav, .flac"),
    "folder into itself": ("se good -o good/clean", "good/clean: lies in the folder that is read"),
    "default output is no place": ("tts Good --prompt=good.wav", "task tts needs --output=…"),
    "no source": ("--task=se --output=out.wav", "task se needs --source=…"),
    "no prompt": ("--task=vc --source=good.wav --output=out.wav", "task vc needs --prompt=…"),
    "prompt of se": ("--task=se --source=good.wav --prompt=good.wav --output=out.wav", "task se takes no prompt"),
    "missing": ("--task=se --source=none.wav --output=out.wav", "none.wav: no such file"),
    "not audio": ("--task=se --source=text.wav --output=out.wav", "text.wav: is not audio"),
    "empty": ("--task=se --source=empty.wav --output=out.wav", "empty.wav: 0.000 s of audio; at least 0.1 s"),
    "short": ("--task=se --source=short.wav --output=out.wav", "short.wav: 0.050 s of audio; at least 0.1 s"),
    "silent": ("--task=se --source=silent.wav --output=out.wav", "silent.wav: is silent"),
    "nan": ("--task=se --source=nan.wav --output=out.wav", "nan.wav: contains samples that are not finite"),
    "long prompt": (
        "--task=vc --source=good.wav --prompt=long_prompt.wav --output=out.wav",
        "long_prompt.wav: 25.0 s of audio; at most 20 s",
    ),
    "missing prompt": ("--task=vc --source=good.wav --prompt=none.wav --output=out.wav", "none.wav: no such file"),
    "bad output": ("--task=se --source=good.wav --output=none/out.wav", "directory none does not exist"),
    "bad suffix": ("--task=se --source=good.wav --output=out.doc", "audio is not written as '.doc'"),
    "steps": ("--task=se --source=good.wav --output=out.wav --steps=0", "steps"),
    "guidance": ("--task=se --source=good.wav --output=out.wav --guidance=-1", "guidance"),
    "guidance nan": (
        "--task=se --source=good.wav --output=out.wav --guidance=nan",
        "guidance is nan; expected",
    ),
    "guidance inf": (
        "--task=se --source=good.wav --output=out.wav --guidance=1e400",
        "guidance is inf; expected",
    ),
    "output is source": (
        "--task=se --source=good.wav --output=./good.wav",
        "./good.wav: is the source too",
    ),
    "output is prompt": (
        "--task=vc --source=good.wav --prompt=wide.wav --output=wide.wav",
        "wide.wav: is the prompt too",
    ),
    "output is a link": ("--task=se --source=good.wav --output=link.wav", "link.wav: is the source too"),
    "zero byte": ("--task=se --source=good.wav --output=a\0b.wav", "output has a zero byte"),
    "pipe": ("--task=se --source=pipe.wav --output=out.wav", "pipe.wav: is not a"),
    "endless list": ("--task=se --list=/dev/zero", "/dev/zero: is"),
    "list and source": ("--task=se --source=good.wav --list=jobs.jsonl", "--list stands instead of"),
    "missing list": ("--task=se --list=none.jsonl", "none.jsonl: No such file"),
    "empty list": ("--task=se --list=empty.jsonl", "empty.jsonl: has no jobs"),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_nothing(run, files, arguments, message):
    before = set(files.iterdir())
    status, out, err = run(*arguments.split())
    assert status == 2 and not out
    assert len(err) == 1 and err[0].startswith("infer: ") and message in err[0]
    assert set(files.iterdir()) == before


def test_a_failure_keeps_the_old_output(run, files):
    (files / "out.wav").write_text("before")
    status, _, _ = run("--task=se", "--source=nan.wav", "--output=out.wav")
    assert status == 2 and (files / "out.wav").read_text() == "before"


def test_bundles_are_checked(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    monkeypatch.setattr(infer_run, "use_compilation_cache", lambda folder: None)
    arguments = ["--task=se", "--source=good.wav", "--output=out.wav", "--bundle=none"]
    assert infer.main([*arguments]) == 2
    assert capsys.readouterr().err.splitlines() == ["infer: none: not a bundle, config.json is missing"]


def write_list(path, *jobs):
    path.write_text("\n".join(job if isinstance(job, str) else json.dumps(job) for job in jobs))


def test_a_list_reports_what_fails_and_does_the_rest(run, files):
    write_list(
        files / "jobs.jsonl",
        {"source": "good.wav", "prompt": "good.wav", "output": "a.wav"},
        "{not json",
        {"source": "none.wav", "prompt": "good.wav", "output": "b.wav"},
        "",
        {"source": "nan.wav", "prompt": "good.wav", "output": "c.wav"},
        {"source": "long.wav", "prompt": "good.wav", "output": "d.wav"},
        ["good.wav"],
        {"source": "good.wav", "prompt": "silent.wav", "output": "e.wav"},
        {"source": "good.wav", "prompt": "good.wav", "output": "f.wav", "speed": 2},
        {"source": "good.wav", "output": "g.wav"},
        {"source": "wide.wav", "prompt": "wide.wav", "output": "h.wav"},
    )
    status, out, err = run("--task=vc", "--list=jobs.jsonl")
    assert status == 1
    assert sorted(path.name for path in files.glob("?.wav")) == ["a.wav", "d.wav", "h.wav"]
    assert soundfile.info("d.wav").duration == 70
    expected = {
        2: "not valid JSON",
        3: "none.wav: no such file",
        5: "not finite",
        7: "a job is a JSON object, not list",
        8: "silent.wav: is silent",
        9: "task vc takes no speed",
        10: "needs the key 'prompt'",
    }
    assert len(err) == len(expected)
    for number, message in expected.items():
        assert any(line.startswith(f"infer: line {number}: ") and message in line for line in err), number
    assert out[-1].startswith("3 files: 72.0 s of audio; ")


def test_two_lines_of_a_list_share_no_output(run, files):
    jobs = [("good", "a"), ("long", "./a"), ("good", "b"), ("wide", "x/../b")]
    (files / "x").mkdir()
    write_list(files / "jobs.jsonl", *({"source": f"{one}.wav", "output": f"{other}.wav"} for one, other in jobs))
    status, _, err = run("--task=se", "--list=jobs.jsonl")
    assert status == 1 and soundfile.info("a.wav").duration < 2
    assert err == [
        "infer: line 2: ./a.wav: is the output of line 1 too; name another",
        "infer: line 4: x/../b.wav: is the output of line 3 too; name another",
    ]


def test_a_list_overwrites_nothing_that_it_reads(run, files):
    before = {name: (files / f"{name}.wav").read_bytes() for name in ("good", "wide", "long")}
    write_list(
        files / "jobs.jsonl",
        {"source": "good.wav", "prompt": "wide.wav", "output": "good.wav"},
        {"source": "good.wav", "prompt": "wide.wav", "output": "long.wav"},
        {"source": "good.wav", "prompt": "wide.wav", "output": "a.wav"},
        {"source": "good.wav", "prompt": "./long.wav", "output": "b\0.wav"},
        {"source": "long.wav", "prompt": "good.wav", "output": "link.wav"},
        {"source": "long.wav", "prompt": "good.wav", "output": "c.wav"},
    )
    status, _, err = run("--task=vc", "--list=jobs.jsonl")
    assert status == 1 and sorted(path.name for path in files.glob("?.wav")) == ["a.wav", "c.wav"]
    assert err == [
        "infer: line 1: good.wav: is the source too; name another output",
        "infer: line 4: output has a zero byte",
        "infer: line 5: link.wav: is the prompt too; name another output",
        "infer: line 2: long.wav: is read by line 6; name another output",
    ]
    assert {name: (files / f"{name}.wav").read_bytes() for name in before} == before


@pytest.mark.parametrize("job", ["[" * 10_000, '{"source": "good.wav", "output": "a.wav", "steps": ' + "9" * 400 + "}"])
def test_a_job_that_no_reader_of_json_survives_is_one_line(run, files, job):
    write_list(files / "jobs.jsonl", job, {"source": "good.wav", "output": "b.wav"})
    status, _, err = run("--task=se", "--list=jobs.jsonl")
    assert status == 1 and (files / "b.wav").exists()
    assert len(err) == 1 and err[0].startswith("infer: line 1: the job: not valid JSON (")


def test_an_item_of_a_list_may_raise_anything(run, files, monkeypatch):
    """While it is read, decoded among others, and written."""

    def sometimes(real, is_bad, error):
        def replaced(*arguments, **settings):
            if is_bad(*arguments):
                raise error
            return real(*arguments, **settings)

        return replaced

    is_wide = lambda path, **settings: str(path) == "wide.wav"  # noqa: E731
    monkeypatch.setattr(infer_run.files, "read_wave", sometimes(infer_run.files.read_wave, is_wide, IndexError("odd")))
    is_halved = lambda self, items: any(len(item.input.samples) == 8000 for item in items)  # noqa: E731
    monkeypatch.setattr(InferRun, "_decode", sometimes(InferRun._decode, is_halved, RuntimeError("a\nb")))
    is_last = lambda path, rate: str(path) == "4.wav"  # noqa: E731
    monkeypatch.setattr(infer_run.files, "write_wave", sometimes(infer_run.files.write_wave, is_last, TypeError()))
    soundfile.write(files / "half.wav", noise(0.5), 16000)
    sources = ("good", "wide", "half", "good", "good")
    write_list(
        files / "jobs.jsonl", *({"source": f"{name}.wav", "output": f"{i}.wav"} for i, name in enumerate(sources))
    )
    status, _, err = run("--task=se", "--list=jobs.jsonl")
    assert status == 1 and sorted(path.name for path in files.glob("?.wav")) == ["0.wav", "3.wav"]
    assert err == [
        "infer: line 2: IndexError: odd",
        "infer: line 3: RuntimeError: a b",
        "infer: line 5: TypeError",
    ]


def test_a_list_without_failures(run, files):
    write_list(files / "jobs.jsonl", *({"source": "good.wav", "output": f"{i}.wav"} for i in range(5)))
    status, _, err = run("--task=se", "--list=jobs.jsonl")
    assert status == 0 and not err and len(list(files.glob("?.wav"))) == 5


SLOWLY = """
import sys, time
sys.path[:0] = {paths}
from commands import users_environment
from mini_chain import CountingEngine
from metis_jax.audio import files
from metis_jax.cli import infer
from metis_jax.inference.metis import Metis
Metis.from_pretrained = lambda *args, **kwargs: Metis(CountingEngine())
write = files.WaveWriter.write
files.WaveWriter.write = lambda self, samples: (write(self, samples), time.sleep(0.3))
sys.exit(infer.main(["--task=se", "--list=jobs.jsonl", "--compilation_cache=off"]))
"""


@pytest.mark.slow
def test_a_list_that_is_stopped_or_killed_leaves_whole_files_alone(run, files):
    write_list(files / "jobs.jsonl", *({"source": "good.wav", "output": f"{i}.wav"} for i in range(8)))
    before = {path.name for path in files.iterdir()}
    root = Path(__file__).parents[2]
    script = SLOWLY.format(paths=[str(root), str(root / "tests")])
    partial = []
    for number, status in ((signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while not ((files / "1.wav").exists() and list(files.glob(".*.partial"))) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(number)
        error = process.communicate(timeout=60)[1]
        assert process.returncode == status
        partial.append(len(list(files.glob(".*.partial"))))
        if number == signal.SIGTERM:
            assert error.splitlines()[-1] == "infer: stopped by SIGTERM" and "Traceback" not in error
        for path in files.glob("?.wav"):
            assert soundfile.info(path).duration == pytest.approx(1, abs=0.05)
            path.unlink()
    assert partial == [0, 1]
    status, _, err = run("--task=se", "--list=jobs.jsonl")
    assert status == 0 and not err
    assert {path.name for path in files.iterdir()} == before | {f"{i}.wav" for i in range(8)}


@pytest.mark.slow
def test_real_models_and_a_second_start_from_the_cache(files, tmp_path):
    bundle = write_mini_bundle(tmp_path / "bundle")
    root = Path(__file__).parents[2]
    compiled = []
    for name in ("first.wav", "second.wav"):
        command = [sys.executable, root / "infer.py", "--task=vc", "--source=good.wav", "--prompt=good.wav"]
        command += [f"--output={name}", f"--bundle={bundle}", f"--compilation_cache={tmp_path / 'cache'}"]
        done = subprocess.run(command, cwd=files, env=users_environment(), capture_output=True, text=True, check=True)
        compiled.append(float(done.stdout.split("compiling ")[1].split(" s")[0]))
    assert (files / "first.wav").read_bytes() == (files / "second.wav").read_bytes()
    assert compiled[1] < 0.5 * compiled[0]

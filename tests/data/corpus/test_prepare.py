"""The prepare command: what it refuses, killed with -9 and restarted, a full disk, bad input."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from synthetic_voice import voice

from metis_jax.cli import prepare as command
from metis_jax.data.corpus import prepare as preparing
from metis_jax.data.corpus.corpus import Corpus
from metis_jax.data.corpus.items import ManifestError, list_items
from metis_jax.data.corpus.prepare import PrepareConfig, prepare

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCRIPT = [sys.executable, str(ROOT / "data/prepare.py")]


def write_manifest(folder: pathlib.Path, rows) -> pathlib.Path:
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def mixed(tmp_path):
    """A folder in which one file of every kind is to be refused."""
    good = voice(0, 1.0)
    waves = {"good.flac": good, "long.flac": voice(1, 3.0), "short.flac": voice(2, 0.2), "same.wav": good}
    waves |= {"silent.flac": 0.001 * voice(3, 1.0), "clipped.flac": np.clip(50 * voice(4, 1.0), -1, 1)}
    waves |= {"other_rate.flac": voice(5, 1.0), "truncated.flac": voice(6, 1.0)}
    for name, wave in waves.items():
        soundfile.write(tmp_path / name, np.round(32_767 * wave).astype(np.int16), 16_000)
    soundfile.write(tmp_path / "low.wav", voice(7, 1.0, 6_000), 6_000)
    (tmp_path / "text.wav").write_text("not audio")
    whole = (tmp_path / "truncated.flac").read_bytes()
    (tmp_path / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    names = (*waves, "low.wav", "text.wav")
    rows = [{"path": name, "speaker": "s", "license": "CC0", "seconds": None} for name in names]
    rows.append({"path": "missing.wav"})
    next(row for row in rows if row["path"] == "other_rate.flac")["sample_rate"] = 24_000
    return write_manifest(tmp_path, rows)


def test_what_is_refused_and_why(mixed, tmp_path):
    report = prepare(mixed, tmp_path / "out", PrepareConfig(max_seconds=2.0))
    refused = {}
    for line in (tmp_path / "out" / "refused.jsonl").read_text().splitlines():
        row = json.loads(line)
        refused[row["id"]] = row["reason"]
        assert row["detail"]
    assert refused == {
        "long": "too long",
        "short": "too short",
        "same": "duplicate",
        "silent": "silent",
        "clipped": "clipped",
        "other_rate": "mismatch",
        "truncated": "unreadable",
        "low": "low rate",
        "text": "unreadable",
        "missing": "unreadable",
    }
    assert report["files"] == 11 and report["records"] == 1 and report["licenses"] == {"CC0": 1}
    assert report["refused"]["unreadable"] == 3
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert Corpus([tmp_path / "out"]).columns["id"].tolist() == ["good"]


def test_compressed_bytes_are_kept_and_others_become_flac(manifest, audio_shards):
    corpus = Corpus([audio_shards])
    kinds = {}
    for index in range(len(corpus)):
        record = corpus[index]
        original = (manifest.parent / f"{record.id}").with_suffix(
            next(s for s in (".flac", ".wav", ".ogg") if (manifest.parent / f"{record.id}{s}").exists())
        )
        same = record.audio == original.read_bytes()
        kinds.setdefault((original.suffix, same, record.audio[:4]), 0)
    assert set(kinds) == {(".flac", True, b"fLaC"), (".ogg", True, b"OggS"), (".wav", False, b"fLaC")}


def test_fields_of_the_manifest_survive(manifest, audio_shards):
    rows = {row["path"].split(".")[0]: row for row in map(json.loads, manifest.read_text().splitlines())}
    corpus = Corpus([audio_shards])
    assert len(corpus) == len(rows)
    for index in range(len(corpus)):
        record, row = corpus[index], rows[corpus.name(index)]
        for field in ("speaker", "text", "language", "license"):
            assert getattr(record, field) == row.get(field, ""), field
        assert record.kind == row.get("kind", "speech")
        assert abs(record.seconds - row.get("seconds", record.seconds)) < 1e-3


def small_corpus(folder: pathlib.Path, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        soundfile.write(folder / f"{index:04d}.flac", 0.1 * rng.standard_normal(9_000), 16_000)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name.startswith("part-")}


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_shards(tmp_path):
    small_corpus(tmp_path / "in", 240)
    config = PrepareConfig(shard_records=4)
    expected = prepare(tmp_path / "in", tmp_path / "whole", config)
    arguments = [f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--shard_records=4", "--processes=2"]
    output = tmp_path / "out"
    # Killed once while files are scanned, and twice while shards are written.
    moments = (
        lambda: any((output / ".prepare" / "scan").glob("*.json")),
        lambda: len(list(output.glob("*.array_record"))) > 5,
        lambda: len(list(output.glob("*.array_record"))) > 30,
    )
    for moment in moments:
        process = subprocess.Popen([*SCRIPT, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not moment():
            time.sleep(0.002)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers = [int(pid) for pid in children.read_text().split()] if process.poll() is None else []
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it finished before it could be killed"
        deadline = time.monotonic() + 20
        while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")], "orphaned workers go on writing"
        assert not (output / "report.json").exists()
    done = subprocess.run([*SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(output) == contents(tmp_path / "whole")
    report = json.loads((output / "report.json").read_text())
    assert {**report, "elapsed_seconds": 0} == {**expected, "elapsed_seconds": 0}
    assert {path.name for path in output.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}
    identities = Corpus([output]).columns["id"].tolist()
    assert len(identities) == 240 and len(set(identities)) == 240


def test_killed_while_an_index_is_written_it_leaves_nothing_behind(tmp_path):
    small_corpus(tmp_path / "in", 4)
    arguments = [f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--processes=1"]
    dies = (
        "import os, signal, sys; from metis_jax.cli.prepare import main; replace = os.replace;"
        "os.replace = lambda old, new: os.kill(os.getpid(), signal.SIGKILL) if str(new).endswith('.index.json')"
        " else replace(old, new); main(sys.argv[1:])"
    )
    killed = subprocess.run([sys.executable, "-c", dies, *arguments], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list((tmp_path / "out").glob(".*.partial"))) == 1
    done = subprocess.run([*SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "out").rglob(".*.partial"))
    prepare(tmp_path / "in", tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def _dies(*job):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_one_line(tmp_path, capsys, monkeypatch):
    small_corpus(tmp_path / "in", 2)
    monkeypatch.setattr("metis_jax.data.corpus.prepare._CHUNK", 1)
    monkeypatch.setattr("metis_jax.data.corpus.prepare._scan_chunk", _dies)
    arguments = [f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--processes=2"]
    assert command.main(arguments) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "prepare:" in line)
    assert line.endswith(
        "scan: a worker was ended from outside, as where memory is short; the same command goes on, "
        "and takes less memory with a smaller --processes"
    )
    monkeypatch.undo()
    assert command.main(arguments) == 0 and len(Corpus([tmp_path / "out"])) == 2


def test_its_own_report_is_no_input(tmp_path, capsys):
    small_corpus(tmp_path / "in", 2)
    prepare(tmp_path / "in", tmp_path / "out")
    before = (tmp_path / "out" / "refused.jsonl").read_bytes()
    arguments = [f"--input={tmp_path / 'out' / 'refused.jsonl'}", f"--output={tmp_path / 'out'}"]
    assert command.main(arguments) == 2
    assert "refused.jsonl: would be overwritten" in capsys.readouterr().err
    assert (tmp_path / "out" / "refused.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--processes=0", "--processes is 0; expected 1 to 1024"),
        ("--processes=99999999", "expected 1 to 1024"),
        ("--shard_records=0", "shard_records is 0; expected 1 to 1000000"),
        ("--min_seconds=nan", "min_seconds is nan"),
        ("--max_seconds=nan", "max_seconds nan"),
        ("--min_seconds=-1", "min_seconds is -1"),
    ],
)
def test_numbers_out_of_range_are_named(tmp_path, capsys, flag, message):
    small_corpus(tmp_path / "in", 1)
    assert command.main([f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", flag]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("prepare: ") and message in line
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line_and_leaves_no_shard(tmp_path):
    small_corpus(tmp_path / "in", 12)
    arguments = [f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--processes=1"]
    # A limit on file size fails as a full disk does: in the middle of a write.
    shell = ["bash", "-c", 'ulimit -f 40; exec "$@"', "limited"]
    done = subprocess.run([*shell, *SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    message = [line for line in done.stderr.splitlines() if line.startswith("prepare:")]
    assert len(message) == 1 and "can not be written" in message[0] and "Traceback" not in done.stderr
    assert not contents(tmp_path / "out") and not list((tmp_path / "out").rglob(".*.partial"))
    assert command.main(arguments) == 0
    assert len(Corpus([tmp_path / "out"])) == 12


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".prepare/fingerprint", ""),
        (".prepare/fingerprint", "0123456789abcdeX"),
        ("report.json", "{"),
        ("report.json", "[1]"),
        ("report.json", "{}"),
    ],
)
def test_damaged_state_of_a_run_says_what_to_do(tmp_path, capsys, name, text):
    small_corpus(tmp_path / "in", 3)
    (tmp_path / "out" / ".prepare").mkdir(parents=True)
    (tmp_path / "out" / name).write_text(text)
    assert command.main([f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"prepare: {tmp_path / 'out' / name}: ")
    assert line.endswith(f"; remove {tmp_path / 'out'} and start again")


def test_another_input_may_not_use_the_same_folder(tmp_path, capsys):
    small_corpus(tmp_path / "one", 3)
    small_corpus(tmp_path / "two", 4)
    arguments = [f"--output={tmp_path / 'out'}", "--processes=1"]
    assert command.main([f"--input={tmp_path / 'one'}", *arguments]) == 0
    before = contents(tmp_path / "out")
    assert command.main([f"--input={tmp_path / 'one'}", *arguments]) == 0
    assert contents(tmp_path / "out") == before
    capsys.readouterr()
    assert command.main([f"--input={tmp_path / 'two'}", *arguments]) == 2
    assert "shards of another input" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty manifest"),
        ("\n\n", "empty manifest"),
        ('{"path": ', "line 1: not valid JSON"),
        ("[1]", "line 1: a list"),
        ('{"speaker": "s"}', "line 1: field 'path' is missing"),
        ('{"path": 5}', "line 1: field 'path' is 5"),
        ('{"path": "a.wav", "speaker": 12}', "field 'speaker' is 12; expected str"),
        ('{"path": "a.wav", "heldout": "no"}', "field 'heldout' is 'no'; expected bool"),
        ('{"path": "a.wav", "sample_rate": "16k"}', "field 'sample_rate'"),
        ('{"path": "a.wav", "kind": "music"}', "field 'kind' is 'music'"),
        ('{"path": "a.wav"}\n{"path": "a.flac"}', "id 'a' names both"),
        ("[" * 10_000, "line 1: not valid JSON .nested too deeply"),
        (f'{{"path": "a.wav", "seconds": {"9" * 400}}}', "line 1: not valid JSON .the integer 999"),
        ('{"path": "a.wav", "seconds": 1e999}', "line 1: not valid JSON .the number 1e999"),
        ('{"path": "a.wav", "text": "\\ud800"}', "line 1: not valid JSON .half of a surrogate pair"),
    ],
)
def test_a_bad_manifest_is_named_before_any_work(tmp_path, text, message, capsys):
    path = tmp_path / "manifest.jsonl"
    path.write_text(text)
    with pytest.raises(ManifestError, match=message):
        list_items(path)
    assert command.main([f"--input={path}", f"--output={tmp_path / 'out'}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bad_line_of_a_manifest_refuses_itself_alone(tmp_path):
    soundfile.write(tmp_path / "a.flac", voice(0, 1.0), 16_000)
    lines = ['{"path": "a.flac", "text": "gut"}', '{"path": ', "5", '{"path": "b.flac", "speaker": 3}', 3000 * "["]
    lines.append('{"path": "\\u0000.wav"}')
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    report = prepare(tmp_path / "manifest.jsonl", tmp_path / "out")
    assert report["records"] == 1 and report["refused"] == {"unreadable": 5}
    rows = [json.loads(line) for line in (tmp_path / "out" / "refused.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows[:4]] == [f"manifest.jsonl line {number}" for number in (2, 3, 4, 5)]
    assert "field 'speaker' is 3" in rows[2]["detail"] and "nested too deeply" in rows[3]["detail"]


def test_no_file_of_a_folder_ends_the_run(tmp_path, monkeypatch):
    """Names and transcripts that are no text, kinds that are not read, and whatever a decoder raises."""
    (tmp_path / "in" / "elsewhere").mkdir(parents=True)
    for index, name in enumerate(("good", "caf\udce9", "latin", "wide", "raises")):
        soundfile.write(os.fsencode(tmp_path / "in" / f"{name}.wav"), voice(index, 1.0), 16_000)
    (tmp_path / "in" / "good.txt").write_text("\ufeffGrüße", encoding="utf-8")
    (tmp_path / "in" / "latin.txt").write_text("Grüße", encoding="latin-1")
    (tmp_path / "in" / "wide.txt").write_text("Grüße", encoding="utf-16")
    (tmp_path / "in" / "phone.wma").write_bytes(b"ftyp")
    for suffix in ("m4a", "wma"):
        (tmp_path / "in" / f"good.{suffix}").write_bytes(b"ftyp")  # what good.wav was made of
    (tmp_path / "in" / "mobile.m4a").write_bytes(b"ftyp")
    soundfile.write(tmp_path / "linked.flac", voice(7, 1.0), 16_000)
    (tmp_path / "in" / "elsewhere" / "link").symlink_to(tmp_path)  # and so also to itself
    (tmp_path / "in" / "moved.wav").symlink_to("where it was.wav")
    (tmp_path / "in" / "circle.wav").symlink_to("circle.wav")
    (tmp_path / "in" / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "in" / "pipe.wav")

    def read(data, name, real=preparing.read_wave):
        wave, rate = real(data, name)
        if np.allclose(wave, voice(4, 1.0), atol=1e-3):
            raise TypeError("No default subtype")
        return wave, rate

    monkeypatch.setattr(preparing, "read_wave", read)
    report = prepare(tmp_path / "in", tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "refused.jsonl").read_text().splitlines()]
    assert {row["id"]: row["detail"].partition("(")[0].strip() for row in rows} == {
        "caf\\udce9": "its name is not UTF-8; rename it",
        "latin": f"{tmp_path}/in/latin.txt: is not UTF-8 text",
        "wide": f"{tmp_path}/in/wide.txt: is not UTF-8 text",
        "phone": ".wma is not read; convert it to .wav or .flac",
        "mobile": "file: is not audio that libsndfile can read",
        "raises": "TypeError: No default subtype",
        "moved": "is a link to nothing",
        "circle": "is a link to nothing",
        "pipe": f"file: {tmp_path}/in/pipe.wav: is not a regular file",
    }
    corpus = Corpus([tmp_path / "out"])
    assert {corpus[index].id: corpus[index].text for index in range(report["records"])} == {
        "good": "Grüße",
        "elsewhere/link/linked": "",
    }


def test_nothing_left_after_refusals_is_an_error(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_text("no")
    assert command.main([f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]) == 2
    assert "every one of 1 files was refused" in capsys.readouterr().err
    assert command.main([f"--input={tmp_path / 'none'}", f"--output={tmp_path / 'out'}"]) == 2


def test_a_video_is_represented_by_its_sound(tmp_path):
    soundfile.write(tmp_path / "a.flac", voice(0, 1.0), 16_000)
    row = {"path": "a.mpg", "kind": "video", "audio": "a.flac", "audio_seconds": 1.0, "seconds": 9.0}
    row["sample_rate"] = 44_100
    report = prepare(write_manifest(tmp_path, [row]), tmp_path / "out")
    assert report["records"] == 1 and list(report["hours"]) == ["video"]


def test_recordings_that_are_no_regular_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    soundfile.write(tmp_path / "good.wav", voice(0, 1.0), 16_000)
    places = {"good": "good.wav", "pipe": "pipe.wav", "endless": "/dev/zero", "zero": "a\0b.wav"}
    rows = [{"id": name, "path": place} for name, place in places.items()]
    report = prepare(write_manifest(tmp_path, rows), tmp_path / "out")
    assert report["records"] == 1 and report["refused"] == {"unreadable": 3}
    lines = (tmp_path / "out" / "refused.jsonl").read_text().splitlines()
    refused = {row["id"]: row["detail"] for row in map(json.loads, lines)}
    assert refused["pipe"].endswith("pipe.wav: is not a regular file")
    assert refused["endless"].endswith("/dev/zero: is not a regular file")
    assert refused["zero"].endswith("embedded null byte")


def test_source_audio_that_can_not_be_one_refuses_its_line(tmp_path):
    wave = voice(0, 1.0)
    waves = {"short": wave[:12_000], "long": np.pad(wave, (0, 4_000)), "silent": 0.001 * wave, "good": voice(1, 1.02)}
    for name, source in waves.items():
        soundfile.write(tmp_path / f"{name}.source.flac", source, 16_000)
    (tmp_path / "text.source.flac").write_text("not audio")
    names = (*waves, "text", "missing")
    for index, name in enumerate(names):
        soundfile.write(tmp_path / f"{name}.flac", voice(2 + index, 1.0), 16_000)
    rows = [{"path": f"{name}.flac", "source_audio": f"{name}.source.flac"} for name in names]
    report = prepare(write_manifest(tmp_path, rows), tmp_path / "out")
    assert report["refused"] == {"unreadable": 2, "mismatch": 2, "silent": 1}
    lines = map(json.loads, (tmp_path / "out" / "refused.jsonl").read_text().splitlines())
    details = {row["id"]: row["detail"] for row in lines}
    assert details["short"] == "source_audio has 0.75 seconds, the recording 1.00; keep the timing"
    assert "source_audio has 1.25 seconds" in details["long"] and details["silent"].startswith("source_audio: peak -7")
    assert "source_audio: is not audio that libsndfile can read" in details["text"]
    assert details["missing"].endswith("missing.source.flac: No such file or directory")
    assert Corpus([tmp_path / "out"])[0].source_audio == (tmp_path / "good.source.flac").read_bytes()


def test_phones_and_lip_features_of_a_manifest(tmp_path):
    """Good ones land in the record; a bad one refuses its line and says why."""
    features = np.random.default_rng(0).standard_normal((25, 6))
    arrays = {"good": features, "ints": features.astype(int), "flat": features[:, 0], "short": features[:5]}
    arrays |= {"nan": np.full((25, 6), np.nan), "pickled": np.array([{}]), "large": 1e200 * features}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "text.npy").write_text("not an array")
    os.mkfifo(tmp_path / "pipe.npy")
    lines = {name: {"visual_features": f"{name}.npy"} for name in (*arrays, "text", "pipe", "missing")}
    lines |= {"wide": {"phones": [5, 1024]}, "negative": {"phones": [-1]}, "word": {"phones": "a b"}}
    lines |= {"real": {"phones": [1.0]}, "true": {"phones": [True]}, "plain": {"phones": [], "visual_features": None}}
    lines["good"] |= {"phones": [0, 1023, 7], "durations": [0.25, 0.5, 0.125], "silence": 0.125}
    lines |= {"fewer": {"phones": [5, 6], "durations": [0.5]}, "never": {"phones": [5, 6], "durations": [0.5, 0]}}
    lines |= {"late": {"phones": [5, 6], "durations": [0.5, 0.7]}, "early": lines["good"] | {"silence": -1.0}}
    for index, name in enumerate(lines):
        soundfile.write(tmp_path / f"{name}.flac", voice(index, 1.0), 16_000)
    rows = [{"path": f"{name}.flac", **row} for name, row in lines.items()]

    report = prepare(write_manifest(tmp_path, rows), tmp_path / "out")

    assert report["records"] == 2 and report["refused"] == {"bad array": len(lines) - 2}
    refused = {row["id"]: row for row in map(json.loads, (tmp_path / "out" / "refused.jsonl").read_text().splitlines())}
    details = {
        "ints": "ints.npy: holds int64",
        "flat": "float32[25]",
        "short": "5 frames",
        "nan": "not finite",
    }
    details |= {"pickled": "holds object", "text": "not an .npy file", "missing": "No such file"}
    details |= {"fewer": "holds 1 values for 2 phones", "never": "durations are positive", "early": "silence -1.0"}
    details |= {"late": "add up to 1.20 s in 1.00 s"}
    details |= {"large": "too large for float32", "pipe": "is not a regular file"}
    details |= {"wide": "phones hold 1024", "negative": "hold -1", "word": "hold 'a b'", "real": "hold 1.0"}
    for name, detail in (details | {"true": "hold True"}).items():
        assert detail in refused.pop(name)["detail"]
    assert not refused
    corpus = Corpus([tmp_path / "out"])
    records = {corpus.name(index): corpus[index] for index in range(2)}
    assert not records["plain"].arrays
    assert records["good"].arrays["phones"].tolist() == [0, 1023, 7]
    assert records["good"].arrays["phone_bounds"].tolist() == [0.125, 0.375, 0.875, 1.0]
    np.testing.assert_array_equal(records["good"].arrays["visual_features"], features.astype(np.float32))
    assert corpus.columns["length_visual_features"].max() == 25

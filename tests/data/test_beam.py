"""Shards made by Apache Beam are those that one machine makes, whatever runs it and however often it is ended."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mini_chain import write_mini_bundle

from metis_jax.cli import extract_tokens
from metis_jax.cli import prepare as command
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.synthetic import synthetic_wave
from metis_jax.data.extract import Extraction

pytestmark = pytest.mark.extra("beam", "apache_beam")
ROOT = Path(__file__).resolve().parents[2]
WORKERS = "--runner=DirectRunner --direct_running_mode=multi_processing --direct_num_workers=2"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for index in range(20):
        wave = synthetic_wave(rng, 1.0, pitch=100.0 + 5 * index, size=1.0)
        soundfile.write(folder / f"{index}.flac", wave, 24_000)
    soundfile.write(folder / "again.flac", wave, 24_000)
    soundfile.write(folder / "short.flac", wave[:100], 24_000)
    (folder / "damaged.wav").write_bytes(b"RIFF")
    return folder


@pytest.fixture(scope="module")
def prepared(recordings, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared") / "out"
    assert command.main(flags(recordings, output)) == 0
    return output


def flags(source, output, *more):
    return [f"--input={source}", f"--output={output}", "--shard_records=4", "--processes=1", *more]


def contents(folder):
    """The bytes of every file, without how long it took."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "report.json"}


@pytest.mark.parametrize("runner", ["DirectRunner", "BundleBasedDirectRunner"])
def test_shards_are_those_of_one_machine(recordings, prepared, tmp_path, runner):
    assert command.main(flags(recordings, tmp_path / "out", f"--beam=--runner={runner}")) == 0
    assert contents(tmp_path / "out") == contents(prepared) and len(contents(prepared)) == 11


def workers_of(group):
    """Beam's worker processes in a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            own = int((folder / "stat").read_text().rpartition(")")[2].split()[2])
            if own == group and b"sdk_worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize("victim", ["a worker", "all"])
def test_whoever_is_killed_the_same_command_does_the_rest(recordings, prepared, tmp_path, victim):
    """Without a worker the local runner waits for ever, so that its command has to be ended."""
    output = tmp_path / "out"
    line = [sys.executable, "-m", "metis_jax.cli.prepare", *flags(recordings, output, f"--beam={WORKERS}")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not list(output.glob("*.array_record")):
        time.sleep(0.01)
    if victim == "a worker":
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        time.sleep(1.0)  # in which the other one writes on
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(output) == contents(prepared)


def test_tokens_are_those_of_one_machine(prepared, tmp_path):
    bundle = write_mini_bundle(tmp_path / "bundle")
    given = [f"--bundle={bundle}", f"--input={prepared}", "--compilation_cache=off"]
    assert extract_tokens.main([*given, f"--output={tmp_path / 'one'}"]) == 0
    assert extract_tokens.main([*given, f"--output={tmp_path / 'many'}", "--beam=--runner=DirectRunner"]) == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    for path in list((tmp_path / "many").glob("part-0000[13]*")):
        path.unlink()
    assert (
        extract_tokens.main([*given, f"--output={tmp_path / 'many'}", "--beam=--runner=BundleBasedDirectRunner"]) == 0
    )
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--runner=Nowhere", "Unexpected pipeline runner: Nowhere"),
        ("--wrkers=3", "--beam='--wrkers=3': Beam has no option 'wrkers'"),
        ("direct", "--beam='direct': 'direct' is no option; give them as --name=value"),
    ],
)
def test_options_that_beam_does_not_know_are_named(recordings, tmp_path, capsys, options, message):
    assert command.main(flags(recordings, tmp_path / "out", f"--beam={options}")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"prepare: {message}")


def test_what_a_worker_says_last_is_the_error(prepared, tmp_path, capsys, monkeypatch):
    def full(self, path, advance=None):
        raise shards.ShardError(f"{path}: can not be written: No space left on device")

    monkeypatch.setattr(Extraction, "write", full)
    bundle = write_mini_bundle(tmp_path / "bundle")
    given = [f"--bundle={bundle}", f"--input={prepared}", f"--output={tmp_path / 'out'}", "--compilation_cache=off"]
    assert extract_tokens.main([*given, "--beam=--runner=DirectRunner"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "can not be written: No space left on device" in error and "Traceback" not in error


def test_a_share_by_hand_and_beam_are_one_too_many(prepared, tmp_path, capsys):
    bundle = write_mini_bundle(tmp_path / "bundle")
    given = [f"--bundle={bundle}", f"--input={prepared}", f"--output={tmp_path / 'out'}", "--process_count=2"]
    assert extract_tokens.main([*given, "--beam=--runner=DirectRunner"]) == 2
    assert "and Beam by itself; give one of them" in capsys.readouterr().err

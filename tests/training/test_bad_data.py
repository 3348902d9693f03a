"""What a run does with a damaged record, a damaged shard and a full disk, by the command that trains."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from metis_jax.cli.train import main
from metis_jax.data.corpus.corpus import Corpus, Selection
from metis_jax.data.corpus.shards import index_path, shard_name
from metis_jax.data.corpus.synthetic import write_synthetic_shards
from metis_jax.training.checkpoint import _hush

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def sound_shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    write_synthetic_shards(folder, 32, 0)
    return folder


@pytest.fixture
def shard(sound_shards, tmp_path):
    """A shard to be damaged."""
    return pathlib.Path(shutil.copytree(sound_shards, tmp_path / "shards")) / shard_name(0, 1)


def arguments(workdir: pathlib.Path, shards: pathlib.Path, **changes) -> list[str]:
    values = {"steps": 8, "log_every": 1, "checkpoint_every": 4, "eval_every": 0, "sample_every": 0, "synthetic": 0}
    values |= {f"model.generator.{name}": 16 for name in ("width", "mlp_width")}
    values |= {"model.generator.num_layers": 1, "model.generator.num_heads": 2, "data.shards": (str(shards),)}
    flags = [f"--config.{key}={value}" for key, value in (values | changes).items()]
    return ["--config=configs/pretrain.py:quicktest", f"--workdir={workdir}", *flags]


def metrics(workdir: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def damage_record(shard: pathlib.Path, name: str) -> None:
    """Overwrites bytes in the middle of one record: its place is where its name is followed by its audio."""
    data = bytearray(shard.read_bytes())
    place = data.index(name.encode() + b"\xa5audio")
    data[place + 500 : place + 600] = bytes(100)
    shard.write_bytes(data)


@pytest.mark.slow
def test_a_run_goes_on_over_a_damaged_record(shard, tmp_path, capsys):
    corpus = Corpus([shard])
    trained = corpus.select(Selection())
    name = corpus.name(int(trained[len(trained) // 2]))
    damage_record(shard, name)
    assert main(arguments(tmp_path / "run", shard.parent)) == 0
    output = capsys.readouterr()
    assert "done at step 8" in output.out
    # Logged once with its place, counted at every step it cost a row.
    said = [line for line in output.err.splitlines() if "skipped bad record" in line]
    assert len(said) == 1 and f"{name}: {shard.name} record" in said[0]
    counts = [line["bad_records_skipped"] for line in metrics(tmp_path / "run")]
    assert len(counts) == 8 and counts == sorted(counts) and counts[-1] >= 1


@pytest.mark.parametrize("with_index", [True, False])
def test_a_shard_cut_short_is_named_before_training(shard, tmp_path, capsys, with_index):
    os.truncate(shard, shard.stat().st_size * 2 // 3)
    if not with_index:
        index_path(shard).unlink()
    assert main(arguments(tmp_path / "run", shard.parent)) == 2
    error = capsys.readouterr().err
    assert error.strip() == f"train: {shard}: truncated, or not an ArrayRecord file; prepare this shard again"
    assert not (tmp_path / "run").exists()


def run_command(argv: list[str], largest_file: int = 0) -> subprocess.CompletedProcess:
    """The command in a process of its own, which can write files up to so many KiB: beyond, as on a full disk."""
    shell = ["bash", "-c", f'ulimit -f {largest_file or "unlimited"}; exec "$@"', "limited"]
    # A limit must not cut short what other tests find in the cache of compiled programs.
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    return subprocess.run(
        [*shell, sys.executable, "train.py", *argv],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_writes_that_were_never_begun_say_nothing(recwarn):
    async def write():
        pass

    _hush.cache_clear()  # another test may have called it, whose warnings were its own
    _hush()
    write()
    assert not recwarn.list


@pytest.mark.slow
def test_a_full_disk_while_a_checkpoint_is_written(sound_shards, tmp_path):
    """One line and exit code 2; with space again the run goes on from the last whole checkpoint."""
    workdir = tmp_path / "run"
    assert run_command(arguments(workdir, sound_shards, steps=4)).returncode == 0
    # Orbax splits the arrays over files as it likes; some of them are always larger than what is left.
    largest, left = max(path.stat().st_size for path in (workdir / "checkpoints" / "4").rglob("*")), 16
    assert largest > 2 * 1024 * left

    failed = run_command(arguments(workdir, sound_shards), largest_file=left)
    assert failed.returncode == 2, failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stderr.splitlines()[-1] == (
        f"train: {workdir / 'checkpoints'}: a checkpoint can not be written: File too large"
    )
    assert sum(line.startswith("train: ") for line in failed.stderr.splitlines()) == 1
    assert [path.name for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()] == ["4"]

    again = run_command(arguments(workdir, sound_shards))
    assert again.returncode == 0, again.stderr
    assert "goes on from step 4" in again.stderr and "done at step 8" in again.stdout
    assert [line["step"] for line in metrics(workdir)] == list(range(1, 9))
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["4", "8"]

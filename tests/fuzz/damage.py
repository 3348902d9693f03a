"""Good files, random damage to them, and the readers that must either read what is left or refuse it in words.

    python tests/fuzz/damage.py --mutations=1000 [--kinds=wav,mp3,ogg,flac,bundle,shard,list] [--seed=0]

does so many of each kind, and counts; it ends at once with a traceback where a reader raises anything but a refusal,
takes more than a minute, or has made the process larger by more than 2 GiB.
"""

import argparse
import collections
import json
import pathlib
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import flax
import numpy as np
import soundfile

from metis_jax.audio import files
from metis_jax.audio.waves import read_wave, write_flac
from metis_jax.cli.requests import parse_request, read_list
from metis_jax.config import SIZES, SemanticCodecConfig
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.records import Record
from metis_jax.faults import in_one_line
from metis_jax.weights.bundle import Bundle, stored_shapes
from metis_jax.weights.bundle_writer import write_bundle

EDITS = ("set", "set near the start", "cut", "insert", "remove", "repeat")
PLACES = 2**16
LARGEST_GROWTH = 2 << 30
PATIENCE_SECONDS = 60


class Edit(NamedTuple):
    """What happens at a place, a share of the file in units of 1 / PLACES."""

    kind: str
    place: int
    data: bytes


def damaged(data: bytes, edits: list[Edit]) -> bytes:
    """The bytes after all edits."""
    for kind, place, new in edits:
        at = min(place % 200, len(data)) if kind == "set near the start" else place * len(data) // PLACES
        if kind.startswith("set"):
            data = data[:at] + new + data[at + len(new) :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + new + data[at:]
        elif kind == "remove":
            data = data[:at] + data[at + len(new) :]
        else:
            data = data[:at] + data[at : at + 64 * len(new)] * 2 + data[at + 64 * len(new) :]
    return data


class Kind(NamedTuple):
    """`make` writes a good example under a folder and gives the files to damage; `read` reads the example."""

    make: Callable[[pathlib.Path], list[pathlib.Path]]
    read: Callable[[pathlib.Path], None]


def _sound(suffix: str) -> Kind:
    def make(folder: pathlib.Path) -> list[pathlib.Path]:
        wave = 0.1 * np.random.default_rng(0).standard_normal(8000)
        soundfile.write(folder / f"a{suffix}", wave, 16_000)
        return [folder / f"a{suffix}"]

    def read(folder: pathlib.Path) -> None:
        path = folder / f"a{suffix}"
        faults = []
        for reader in (
            lambda: files.seconds(path),
            lambda: files.read_wave(path),
            lambda: collections.deque(files.stream_wave(path, 16_000), maxlen=1),
            lambda: read_wave(path.read_bytes(), str(path)),
        ):
            try:
                reader()
            except (ValueError, OSError) as error:
                faults.append(error)
        if faults:
            raise faults[-1]

    return Kind(make, read)


def _make_bundle(folder: pathlib.Path) -> list[pathlib.Path]:
    config, draw = SIZES["tiny"][SemanticCodecConfig], np.random.default_rng(0)
    flat = {path: draw.normal(size=shape).astype(np.float32) for path, shape in stored_shapes(config).items()}
    with write_bundle(folder / "bundle", license="MIT", provenance="drawn for a test") as bundle:
        bundle.add("codec", config, flax.traverse_util.unflatten_dict(flat, sep="/"))
    return [folder / "bundle" / "config.json", folder / "bundle" / "codec.safetensors"]


def _make_shard(folder: pathlib.Path) -> list[pathlib.Path]:
    sound = write_flac(0.1 * np.random.default_rng(0).standard_normal(1600).astype(np.float32), 16_000)
    tokens = {"ssl_tokens": np.arange(5, dtype=np.uint16)}
    records = [
        Record(id=f"r{i}", audio=sound, sample_rate=16_000, samples=1600, text="words", arrays=tokens) for i in range(4)
    ]
    path = folder / shards.shard_name(0, 1)
    shards.write_shard(path, records)
    return [path, shards.index_path(path)]


def _read_shard(folder: pathlib.Path) -> None:
    [path] = shards.find_shards([folder])
    shards.read_index(path)
    for record in shards.read_shard(path):
        read_wave(record.audio, record.id)


def _make_list(folder: pathlib.Path) -> list[pathlib.Path]:
    soundfile.write(folder / "a.wav", np.zeros(8000), 16_000)
    job = {"source": str(folder / "a.wav"), "output": str(folder / "b.wav")}
    (folder / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for _ in range(4)))
    return [folder / "jobs.jsonl"]


def _read_list(folder: pathlib.Path) -> None:
    faults = []
    for line in read_list(str(folder / "jobs.jsonl")):
        try:
            parse_request(line, "se", {})
        except (ValueError, OSError) as error:
            faults.append(error)
    if faults:
        raise faults[-1]


KINDS = {
    "wav": _sound(".wav"),
    "mp3": _sound(".mp3"),
    "ogg": _sound(".ogg"),
    "flac": _sound(".flac"),
    "bundle": Kind(_make_bundle, lambda folder: Bundle(folder / "bundle").load("codec")),
    "shard": Kind(_make_shard, _read_shard),
    "list": Kind(_make_list, _read_list),
}


class Example:
    """A good example of a kind in a folder, damaged again and again."""

    def __init__(self, kind: str, folder: pathlib.Path):
        self._folder, self._read = folder, KINDS[kind].read
        self._good = {path: path.read_bytes() for path in KINDS[kind].make(folder)}
        self._read(folder)

    def outcome(self, which: int, edits: list[Edit]) -> str:
        """How damage to one of the files is met: "read" or "refused"; what is no refusal is raised."""
        path = list(self._good)[which % len(self._good)]
        path.write_bytes(damaged(self._good[path], edits))
        try:
            self._read(self._folder)
        except (ValueError, OSError) as error:
            assert len(in_one_line(error)) < 1000
            return "refused"
        finally:
            path.write_bytes(self._good[path])
        return "read"


def drawn(rng: np.random.Generator) -> Iterator[list[Edit]]:
    """Random damage without end."""
    while True:
        yield [
            Edit(EDITS[rng.integers(len(EDITS))], int(rng.integers(PLACES)), rng.bytes(int(rng.integers(1, 9))))
            for _ in range(rng.integers(1, 5))
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=100)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    for kind in flags.kinds.split(","):
        rng, counts = np.random.default_rng(flags.seed), collections.Counter()
        with tempfile.TemporaryDirectory() as folder:
            example = Example(kind, pathlib.Path(folder))
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for number, edits in zip(range(flags.mutations), drawn(rng), strict=False):
                signal.alarm(PATIENCE_SECONDS)
                try:
                    counts[example.outcome(number, edits)] += 1
                except BaseException:
                    print(f"{kind}, mutation {number}: {edits}", file=sys.stderr)
                    raise
            signal.alarm(0)
            growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
            assert growth < LARGEST_GROWTH, f"{kind}: {growth >> 20} MiB more memory"
        print(f"{kind}: {counts['read']} read, {counts['refused']} refused, {growth >> 20} MiB more memory", flush=True)


if __name__ == "__main__":
    main()

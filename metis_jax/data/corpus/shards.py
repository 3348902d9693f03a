"""Shards on disk: an ArrayRecord file of records and, beside it, a JSON index of everything but audio and arrays.

`part-00003-of-00016.array_record` holds encoded records, one per group, so that any of them is read on its own.
`part-00003-of-00016.index.json` holds columns; a pipeline plans crops, prompts and batches from them without touching
audio.  Both appear whole (`outputs.py`), the index last: a shard is complete exactly if its index exists.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from metis_jax.data.corpus.records import ARRAYS, Record, RecordError, decode_record, encode_record
from metis_jax.files.inputs import InputError, read_json
from metis_jax.files.outputs import new_file, write_text
from metis_jax.files.places import check_is_local
from metis_jax.weights.identity import ENCODERS

SUFFIX = ".array_record"
INDEX_SUFFIX = ".index.json"
INDEX_VERSION = 1

# Fields of a record that the index says, and all that it says: column and type of its values.
COLUMNS: dict[str, type] = {
    "id": str,
    "kind": str,
    "speaker": str,
    "language": str,
    "license": str,
    "source": str,
    "condition": str,
    "held_out": bool,
    "sample_rate": int,
    "samples": int,
}
INDEX: dict[str, type] = COLUMNS | dict.fromkeys(("has_text", "has_audio", "has_source_audio"), bool)
INDEX |= {f"length_{name}": int for name in ARRAYS} | {f"identity_{name}": str for name in ENCODERS}


class ShardError(ValueError):
    """A shard that can not be written or read as a whole."""


# Shards whose index was written before these columns were known have nothing of them.
_LATER = dict.fromkeys(("length_phone_bounds", "length_degraded_acoustic_tokens", "length_mouth_crops"), 0)
_LATER |= {"identity_visual_encoder": ""}


def shard_name(index: int, count: int) -> str:
    return f"part-{index:05d}-of-{count:05d}{SUFFIX}"


def index_path(shard: pathlib.Path) -> pathlib.Path:
    return shard.with_name(shard.name.removesuffix(SUFFIX) + INDEX_SUFFIX)


def index_columns(records: Iterable[Record]) -> dict[str, list]:
    columns: dict[str, list] = {name: [] for name in INDEX}
    for record in records:
        for name in COLUMNS:
            columns[name].append(getattr(record, name))
        columns["has_text"].append(bool(record.text))
        columns["has_audio"].append(bool(record.audio))
        columns["has_source_audio"].append(bool(record.source_audio))
        for name in ARRAYS:
            columns[f"length_{name}"].append(len(record.arrays[name]) if name in record.arrays else 0)
        for name in ENCODERS:
            columns[f"identity_{name}"].append(record.encoders.get(name, ""))
    return columns


def write_json(path: pathlib.Path, value) -> None:
    """A reader sees the old file or the whole new one."""
    try:
        write_text(path, json.dumps(value, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ShardError(f"{path}: can not be written: {error.strerror or error}") from error


def write_shard(path: pathlib.Path, records: Iterable[Record]) -> int:
    """Writes a shard and its index; the number of records.  Nothing is left under `path` if writing fails."""
    known: list[Record] = []
    try:
        with new_file(path) as partial:
            writer = ArrayRecordWriter(str(partial), "group_size:1,uncompressed")
            try:
                for record in records:
                    writer.write(encode_record(record))
                    # The index needs no contents: dropping them keeps memory flat however large the shard.
                    known.append(outline(record))
            finally:
                writer.close()
    except (OSError, RuntimeError) as error:  # ArrayRecord reports a full disk as RuntimeError
        raise ShardError(f"{path}: can not be written: {getattr(error, 'strerror', None) or error}") from error
    write_index(index_path(path), index_columns(known))
    return len(known)


def outline(record: Record) -> Record:
    """The record with a byte of its audio and arrays of one value repeated: what an index says of it is the same."""
    arrays = {name: np.broadcast_to(np.zeros((), array.dtype), array.shape) for name, array in record.arrays.items()}
    audio, source_audio = record.audio[:1], record.source_audio[:1]
    return dataclasses.replace(record, audio=audio, source_audio=source_audio, arrays=arrays)


def open_reader(path: pathlib.Path) -> ArrayRecordReader:
    """A reader of a whole shard; a missing, truncated or foreign file is an error that names it."""
    if not path.is_file():
        raise ShardError(f"{path}: no such shard")
    try:
        reader = ArrayRecordReader(str(path))
    except RuntimeError as error:
        raise ShardError(f"{path}: not a readable shard: {error}") from error
    if not reader.ok():
        raise ShardError(f"{path}: truncated, or not an ArrayRecord file; prepare this shard again")
    return reader


def read_shard(path: pathlib.Path) -> Iterable[Record]:
    """All records of one shard in order, for the commands that rewrite shards."""
    reader = open_reader(path)
    try:
        for position in range(reader.num_records()):
            try:
                data = reader.read([position])[0]
            except RuntimeError as error:
                raise RecordError(f"{path} record {position}: {error}") from error
            yield decode_record(data)
    finally:
        reader.close()


def write_index(path: pathlib.Path, columns: Mapping[str, list]) -> None:
    write_json(path, {"version": INDEX_VERSION, "columns": columns})


def load_columns(path: pathlib.Path) -> dict[str, list]:
    """The columns of an index file, all there, of one length and of their types."""
    try:
        index = read_json(path)
        version, columns = index["version"], index["columns"]
        lengths = {len(column) for column in columns.values()}
    except (InputError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{path}: broken index ({error}); delete it and it is rebuilt") from error
    if version != INDEX_VERSION:
        raise ShardError(f"{path}: index version {version!r}; this program reads {INDEX_VERSION}")
    columns |= {name: [value] * max(lengths, default=0) for name, value in _LATER.items() if name not in columns}
    missing = set(INDEX) - set(columns)
    if missing or len(lengths) != 1:
        problem = f"without {sorted(missing)}" if missing else f"with columns of {sorted(lengths)} entries"
        raise ShardError(f"{path}: index {problem}; delete it and it is rebuilt")
    for name, kind in INDEX.items():
        if other := set(map(type, columns[name])) - {kind}:
            found = sorted(one.__name__ for one in other)
            raise ShardError(f"{path}: index with {name} of {found}; delete it and it is rebuilt")
    return columns


def read_index(path: pathlib.Path) -> dict[str, list]:
    """The columns of one shard, checked against the shard; rebuilt from the records where no index file exists."""
    reader = open_reader(path)
    count = reader.num_records()
    reader.close()
    beside = index_path(path)
    if not beside.exists():
        return index_columns(outline(record) for record in read_shard(path))
    columns = load_columns(beside)
    if len(columns["id"]) != count:
        raise ShardError(f"{beside}: index of {len(columns['id'])} records beside a shard of {count}; delete the index")
    return columns


def find_shards(folders: Sequence[str | os.PathLike]) -> list[pathlib.Path]:
    """The shards of some folders (or shard files named directly), in a fixed order."""
    shards: list[pathlib.Path] = []
    for entry in folders:
        check_is_local(entry)
        path = pathlib.Path(entry)
        if path.is_dir():
            found = sorted(path.glob(f"*{SUFFIX}*"))
            found = [shard for shard in found if not shard.name.endswith((".tmp", INDEX_SUFFIX))]
            if not found:
                raise ShardError(f"{path}: no *{SUFFIX} file in this folder")
            shards.extend(found)
        else:
            shards.append(path)
    if not shards:
        raise ShardError("no shards given")
    return shards

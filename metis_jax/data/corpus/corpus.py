"""What a pipeline reads: shards as one random-access corpus, selections of it, and a guard that counts bad records."""

import dataclasses
import functools
import hashlib
import logging
import os
import pathlib
import threading
from collections.abc import Callable, Iterator, Sequence

import grain
import numpy as np

from metis_jax.data.corpus import shards
from metis_jax.data.corpus.columns import Columns
from metis_jax.data.corpus.records import ARRAYS, Record, RecordError, decode_record
from metis_jax.data.corpus.tfds_records import TfdsRecords
from metis_jax.weights.identity import ENCODERS, OtherEncoder

log = logging.getLogger(__name__)

_AT_ONCE = 1 << 16  # records whose columns are lists while a fingerprint is taken


class TooManyBadRecords(ValueError):
    """More bad records than a run may skip."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BadRecordLimit:
    """A run stops when more than `count` records, and more than `share` of all that were read, are bad."""

    count: int = 20
    share: float = 0.01

    def __post_init__(self):
        if self.count < 0 or not 0 <= self.share <= 1:
            raise ValueError(f"bad_records: count is {self.count}, share {self.share}; need 0 or more, and 0 to 1")


class BadRecordGuard:
    """Counts what was read and what was skipped, logs each bad record once, and stops a run that skips too many."""

    def __init__(self, limit: BadRecordLimit):
        self.limit = limit
        self.read = 0
        self.bad: dict[str, str] = {}
        self.skipped = 0
        self._lock = threading.Lock()

    def good(self) -> None:
        with self._lock:
            self.read += 1

    def skip(self, name: str, reason: str) -> None:
        """Notes one skipped record; raises `TooManyBadRecords` over the limit."""
        with self._lock:
            self.read += 1
            self.skipped += 1
            if name not in self.bad:
                self.bad[name] = reason
                log.warning("skipped bad record %s: %s", name, reason)
            over = len(self.bad) > self.limit.count or self.skipped > max(self.limit.count, 1) * 100
            if over and self.skipped > self.limit.share * self.read:
                raise TooManyBadRecords(
                    f"{len(self.bad)} bad records in {self.read} reads (limit {self.limit.count} and "
                    f"{self.limit.share:.1%}); the last is {name}: {reason}"
                )

    def __getstate__(self):
        state = self.__dict__.copy()
        del state["_lock"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = threading.Lock()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which records of a corpus take part.

    Attributes:
      kinds, languages, conditions: allowed values; an empty tuple of languages allows all.
      sources: a record takes part if its source contains one of these, in any case: "librispeech"; none allows all.
      exclude_licenses: a record is left out if its licence contains one of these, in any case: "by-sa", "-nc".
      split: "train", "validation" (speakers held out by hash, and records that the corpus holds out) or "all".
      held_out_share: share of the speakers held out.  A speaker's side depends on its name and `split_seed` alone, so
        it is the same in every corpus and on every machine.  A record without a speaker is split by its id.  Where
        that leaves a side without what it needs, as in a corpus of one speaker, recordings are held out instead
        (`Corpus.split`).  0 holds out what the corpus does, and nothing else.
      training_share: share of the records of the training side that take part, by the hash of their ids: a smaller
        share is part of a larger one, and what is held out stays the same.
      min_seconds, max_seconds: duration limits.
      min_sample_rate: recordings below it, in Hz, are left out: above half their rate there is only silence to learn.
    """

    kinds: tuple[str, ...] = ("speech",)
    languages: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ("", "clean")
    sources: tuple[str, ...] = ()
    exclude_licenses: tuple[str, ...] = ()
    split: str = "train"
    held_out_share: float = 0.05
    training_share: float = 1.0
    split_seed: int = 0
    min_seconds: float = 0.0
    max_seconds: float = float("inf")
    min_sample_rate: int = 0

    def __post_init__(self):
        if self.split not in ("train", "validation", "all"):
            raise ValueError(f"selection.split is {self.split!r}; use train, validation or all")
        if not 0 <= self.held_out_share < 1:
            raise ValueError(f"selection.held_out_share is {self.held_out_share}; it must lie in [0, 1)")
        if not 0 < self.training_share <= 1:
            raise ValueError(f"selection.training_share is {self.training_share}; it must lie in (0, 1]")
        if not 0 <= self.min_seconds <= self.max_seconds:
            raise ValueError(f"selection.min_seconds is {self.min_seconds}, max_seconds {self.max_seconds}")
        if self.min_sample_rate < 0:
            raise ValueError(f"selection.min_sample_rate is {self.min_sample_rate}; it must not be negative")


def _place(name: str, seed: int | str) -> int:
    """Where a name lies in 0 to 2**64: a fixed property of the name."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest(), "big")


def is_held_out(name: str, share: float, seed: int) -> bool:
    """Whether a speaker belongs to the held-out side."""
    return _place(name, seed) < share * 2**64


@dataclasses.dataclass(frozen=True)
class Split:
    """Both sides of a selection: indices of records in corpus order.  `serves`: each has what it needs."""

    train: np.ndarray
    validation: np.ndarray
    serves: bool


Serves = Callable[[np.ndarray, np.ndarray], bool]


def both_have_records(train: np.ndarray, validation: np.ndarray) -> bool:
    """What every split is to give, where it can."""
    return len(train) > 0 and len(validation) > 0


class _Shards:
    """ArrayRecord shards of encoded records; `add` takes the index of one after the other, and says its length."""

    def __init__(self, paths: Sequence[pathlib.Path], add: Callable[[dict[str, list]], int]):
        self.paths = paths
        self._counts = [add(shards.read_index(path)) for path in paths]
        self._source = grain.sources.ArrayRecordDataSource([str(path) for path in paths])

    def __getitem__(self, index: int) -> Record:
        try:
            return decode_record(self._source[index])
        except (RuntimeError, OSError, ValueError, IndexError) as error:
            raise RecordError(f"{self._locate(index)}: {error}") from error

    def _locate(self, index: int) -> str:
        for path, count in zip(self.paths, self._counts, strict=True):
            if index < count:
                return f"{path.name} record {index}"
            index -= count
        raise IndexError(index)


class Corpus:
    """Shards, and TFDS data sets of the same schema, as one sequence of records with an index as columns.

    Opening checks every shard; reading a record may still fail (`RecordError`), and then names shard and record.
    All records of the folders `held_out` count as held out by the corpus.  Tokens of two encoders are refused.

    Attributes:
      columns: {name: what the index says of every record} (`columns.py`).
      encoders: {component: identity of the weights that made the records' tokens, where a record says so}.
    """

    def __init__(self, folders: Sequence[str | os.PathLike], held_out: Sequence[str | os.PathLike] = ()):
        if not folders:
            raise shards.ShardError("no shards given")
        self._readers: list[_Shards | TfdsRecords] = []
        columns, ends = Columns(), []
        for folder in (*folders, *held_out):
            is_tfds = (pathlib.Path(folder) / "dataset_info.json").is_file()
            reader = TfdsRecords(folder, columns.add) if is_tfds else _Shards(shards.find_shards([folder]), columns.add)
            self._readers.append(reader)
            ends.append(len(columns))
        self.columns, self._ends = columns.finish(), np.asarray(ends)
        if held_out:
            self.columns["held_out"][self._ends[len(folders) - 1] :] = True
        if not len(self):
            raise shards.ShardError(f"{', '.join(map(str, folders))}: no records in these shards")
        self.encoders = self._encoders()

    def _encoders(self) -> dict[str, str]:
        found = {}
        for name in ENCODERS:
            column = self.columns[f"identity_{name}"]
            first = {one: int(np.argmax(column.codes == code)) for code, one in enumerate(column.values)}
            known = {one: self.name(first[one]) for one in sorted(first) if one}
            if len(known) > 1:
                raise OtherEncoder(
                    f"records {' and '.join(known.values())} have arrays of different {name}s, "
                    f"{' and '.join(known)}; extract all of them with one bundle"
                )
            if known:
                found[name] = next(iter(known))
        return found

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def seconds(self) -> np.ndarray:
        return self.columns["samples"] / self.columns["sample_rate"]

    def name(self, index: int | np.integer) -> str:
        return self.columns["id"][index]

    @functools.cached_property
    def speakers(self) -> np.ndarray:
        """Who speaks: numbers [records], the same for records of one speaker.

        A record without a speaker is taken for a speaker of its own, who is named as the record is.
        """
        column = self.columns["speaker"]
        nameless = np.flatnonzero(column.isin([""]))
        if not len(nameless):
            return column.codes
        numbers = {name: number for number, name in enumerate(column.values)}
        own = [numbers.setdefault(self.name(record), len(numbers)) for record in nameless]
        found = column.codes.astype(np.min_scalar_type(len(numbers)))
        found[nameless] = own
        return found

    def __getitem__(self, index: int) -> Record:
        reader = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[reader - 1]) if reader else 0
        record = self._readers[reader][int(index) - start]
        if record.id != self.columns["id"][index]:
            raise RecordError(f"record {index} holds {record.id!r}, the index says {self.name(index)!r}")
        return record

    def select(self, selection: Selection) -> np.ndarray:
        """The indices of the records that a selection lets through, in corpus order."""
        if selection.split == "all":
            return np.flatnonzero(self._matching(selection))
        return getattr(self.split(selection), selection.split)

    def split(self, selection: Selection, serves: Serves = both_have_records) -> Split:
        """Training and validation sides of a selection, whichever of them it asks for.

        Tried in turn until `serves(train, validation)`: speakers by `held_out_share`, recordings by it, and the 1, 2,
        4... recordings that come first by the hash of their ids, up to half of all.  So every process and every
        continued run find the same sides.  If none serves, the corpus's own held-out records are the validation side.
        """
        matching, marked = self._matching(selection), self.columns["held_out"]
        for held_out in self._ways_to_hold_out(selection, matching & ~marked):
            train, validation = (np.flatnonzero(matching & side) for side in (~(marked | held_out), marked | held_out))
            if serves(train, validation):
                return Split(self._taking_part(selection, train), validation, True)
        train, validation = (np.flatnonzero(matching & side) for side in (~marked, marked))
        return Split(self._taking_part(selection, train), validation, False)

    def _taking_part(self, selection: Selection, train: np.ndarray) -> np.ndarray:
        """Those of the training side that are in its share."""
        # Another hash than that of the split, which may be by id too and has taken the lowest places.
        seed, most = f"{selection.split_seed} training share", selection.training_share * 2**64
        return train if most == 2**64 else train[[_place(self.name(index), seed) < most for index in train.tolist()]]

    def _ways_to_hold_out(self, selection: Selection, free: np.ndarray) -> Iterator[np.ndarray]:
        """Boolean masks of records that could be held out of the `free` ones, the better first."""
        share, seed, column = selection.held_out_share, selection.split_seed, self.columns["speaker"]

        def by_id(records: np.ndarray) -> np.ndarray:
            mask = np.zeros(len(self), bool)
            mask[records] = [is_held_out(self.name(record), share, seed) for record in records]
            return mask

        if not share:
            yield np.zeros(len(self), bool)
            return
        nameless = column.isin([""])
        is_out = np.zeros(len(column.values), bool)
        for code in np.unique(column.codes[free & ~nameless]):
            is_out[code] = is_held_out(column.values[code], share, seed)
        yield (free & is_out[column.codes]) | by_id(np.flatnonzero(free & nameless))
        records = np.flatnonzero(free)
        yield by_id(records)
        places = np.asarray([_place(self.name(record), seed) for record in records], np.uint64)
        order = records[np.argsort(places, kind="stable")]
        count = 1
        while 2 * count <= len(order):
            yield np.isin(np.arange(len(self)), order[:count])
            count *= 2

    def _matching(self, selection: Selection) -> np.ndarray:
        """Which records a selection would let through if it did not split them, bool [records]."""
        column = self.columns
        keep = column["kind"].isin(selection.kinds) & column["condition"].isin(selection.conditions)
        if selection.languages:
            keep &= column["language"].isin(selection.languages)
        if selection.sources:
            keep &= column["source"].contains_any(selection.sources)
        if selection.exclude_licenses:
            keep &= ~column["license"].contains_any(selection.exclude_licenses)
        keep &= column["sample_rate"] >= selection.min_sample_rate
        return keep & (self.seconds >= selection.min_seconds) & (self.seconds <= selection.max_seconds)

    def fingerprint(self) -> str:
        """Changes whenever a record is added, removed, moved or relabelled, or its tokens are of another encoder."""
        digest = hashlib.blake2b(digest_size=8)
        made = (*(f"length_{array}" for array in ARRAYS), *(f"identity_{name}" for name in ENCODERS))
        for name in ("id", "samples", "speaker", "license", *made):
            for start in range(0, len(self), _AT_ONCE):
                values = self.columns[name][start : start + _AT_ONCE].tolist()
                digest.update(("\0" * (start > 0) + "\0".join(map(str, values))).encode())
        return digest.hexdigest()

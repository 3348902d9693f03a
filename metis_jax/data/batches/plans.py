"""Which rows make up which batch: a pure function of the seed, so that a run's data state is a place in it.

Order: mixture of parts, shuffle, repeat, then blocks of so many positions.  Inside a block rows are sorted into length
buckets, every bucket is cut into batches of the number of rows that it has room for, and what is left over moves up to
the next larger bucket.  Rows from positions far behind every block fill the last batch of the largest one, so that no
row is dropped and none comes twice.  Then the batches are shuffled.  A block holds at least one batch, and how many is
known once it is planned.  Every process computes the same plan, so shapes agree on a pod, and takes its share of a
finished plan last: neither order nor noise depends on the mesh or the number of processes.
"""

import bisect
import dataclasses
import functools
import hashlib
import threading
from collections.abc import Callable, Sequence

import grain
import numpy as np

from metis_jax.data.batches.recipes import Recipe

FILLING = 2**40  # no run comes to this position


def seed_of(*words: int | str) -> int:
    """A 62-bit seed that depends on every word."""
    digest = hashlib.blake2b("/".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2


def rng_of(*words: int | str) -> np.random.Generator:
    """A generator that depends on every word."""
    return np.random.default_rng(seed_of(*words))


class _Tag(grain.transforms.Map):
    """Puts the number of its part beside an item."""

    def __init__(self, part: int):
        self.part = part

    def map(self, item: int) -> tuple[int, int]:
        return self.part, item


def mixed_order(sizes: Sequence[int], weights: Sequence[float], seed: int) -> grain.MapDataset:
    """Position in an endless stream -> (part, item).  Each item of a part comes once per epoch, in a new order."""
    if len(sizes) != len(weights) or not sizes or min(sizes) <= 0:
        raise ValueError(f"parts of sizes {tuple(sizes)} for weights {tuple(weights)}; no part may be empty")
    if not all(np.isfinite(weight) and weight > 0 for weight in weights):
        raise ValueError(f"mixture weights are {tuple(weights)}; every weight must be a positive number")
    parts = []
    for part, size in enumerate(sizes):
        seeded = grain.MapDataset.range(size).seed(seed_of(seed, "shuffle", part) & 0x7FFFFFFF)  # Grain: 32 bits
        parts.append(seeded.shuffle().repeat().map(_Tag(part)))
    return parts[0] if len(parts) == 1 else grain.MapDataset.mix(parts, weights=list(weights))


@dataclasses.dataclass(frozen=True)
class Row:
    """One example as planned: `recipe` says what to read, `attempt` counts the earlier ones that met bad records."""

    position: int
    part: int
    recipe: Recipe
    attempt: int = 0


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    block: int
    frames: int  # the bucket all rows are padded to
    rows: tuple[Row, ...]


def rows_of_buckets(tokens: int, buckets: Sequence[int], multiple: int) -> tuple[int, ...]:
    """Rows of a batch of about `tokens` frames in each bucket: a multiple of `multiple`, at least one of it."""
    return tuple(max(tokens // bucket // multiple, 1) * multiple for bucket in buckets)


class Batches:
    """Batch plans by block, or one after the other.

    `draw(part, item, rng, limit)` returns a recipe of at most `limit` frames.  `rows` are those of a batch in each
    bucket.  A block plans as many positions as `block_batches` batches of the bucket with the most rows.
    """

    def __init__(
        self,
        order: grain.MapDataset,
        draw: Callable[[int, int, np.random.Generator, int], Recipe],
        *,
        buckets: Sequence[int],
        rows: Sequence[int],
        block_batches: int,
        seed: int,
    ):
        if list(buckets) != sorted(set(buckets)) or not buckets or buckets[0] <= 0:
            raise ValueError(f"buckets are {tuple(buckets)}; expected growing positive frame counts")
        if len(rows) != len(buckets) or min(rows) <= 0 or block_batches <= 0:
            raise ValueError(
                f"batches of {tuple(rows)} rows in buckets {tuple(buckets)}, block_batches {block_batches}; "
                "expected a positive number of rows for every bucket, and of batches"
            )
        self.order, self.draw, self.seed = order, draw, seed
        self.buckets, self.rows = tuple(buckets), tuple(rows)
        self.block_batches = block_batches
        self._prepare()

    def with_rows(self, rows: Sequence[int]) -> "Batches":
        """The same order of rows in batches of other sizes."""
        options = {"buckets": self.buckets, "block_batches": self.block_batches, "seed": self.seed}
        return Batches(self.order, self.draw, rows=rows, **options)

    def _prepare(self) -> None:
        self._planned, self._lock = functools.lru_cache(maxsize=4)(self._plan_block), threading.Lock()
        self._from_start = Places(self)

    def __getstate__(self):
        return {key: value for key, value in self.__dict__.items() if key not in ("_planned", "_lock", "_from_start")}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._prepare()

    def __getitem__(self, step: int) -> BatchPlan:
        """Batch number `step` of a run, for which all blocks before it have to be planned."""
        block, place = self._from_start[step]
        return self.block(block)[place]

    def block(self, block: int) -> list[BatchPlan]:
        """The batches of a block, in the order they are taken; at least one."""
        with self._lock:  # threads that read ahead all need the same block
            return self._planned(block)

    def plan_row(self, position: int) -> Row:
        part, item = self.order[position]
        rng = rng_of(self.seed, "recipe", position)
        return Row(position, part, self.draw(part, item, rng, self.buckets[-1]))

    def replace(self, plan: BatchPlan, row: Row) -> Row | None:
        """A stand-in for a row that met a bad record: another recipe of its block that fits into its batch.

        The draw is seeded by position and attempt, so every run and process finds the same one; None if there is none.
        """
        attempt = row.attempt + 1
        fitting = [
            other
            for beside in self.block(plan.block)
            for other in beside.rows
            if other.recipe.frames <= plan.frames and other.recipe.target.record != row.recipe.target.record
        ]
        if not fitting:
            return None
        fitting.sort(key=lambda other: other.position)
        chosen = fitting[int(rng_of(self.seed, "replace", row.position, attempt).integers(len(fitting)))]
        return Row(row.position, chosen.part, chosen.recipe, attempt)

    def bucket(self, frames: int) -> int:
        """The number of the smallest bucket that holds so many frames."""
        for number, bucket in enumerate(self.buckets):
            if frames <= bucket:
                return number
        raise ValueError(f"a row of {frames} frames is longer than the largest bucket, {self.buckets[-1]}")

    def _plan_block(self, block: int) -> list[BatchPlan]:
        span = max(self.rows) * self.block_batches
        by_bucket: list[list[Row]] = [[] for _ in self.buckets]
        for position in range(block * span, (block + 1) * span):
            row = self.plan_row(position)
            by_bucket[self.bucket(row.recipe.frames)].append(row)
        rng = rng_of(self.seed, "block", block)
        plans: list[BatchPlan] = []
        left: list[Row] = []
        for frames, size, own in zip(self.buckets, self.rows, by_bucket, strict=True):
            left += own
            if frames == self.buckets[-1]:
                start = FILLING + block * size
                left += [self.plan_row(start + extra) for extra in range(-len(left) % size)]
            rng.shuffle(left)  # batches of shorter rows alone would have fewer tokens than the others
            while len(left) >= size:
                plans.append(BatchPlan(block, frames, tuple(left[:size])))
                left = left[size:]
        rng.shuffle(plans)
        return plans


class Places:
    """Where batches lie that come one after the other: number from a starting place on -> (block, place in it)."""

    def __init__(self, batches: Batches, block: int = 0, place: int = 0):
        self._batches, self._block = batches, block
        self._starts = [-place]  # numbers of the first batches of the blocks from `block` on
        self._lock = threading.Lock()

    def __getitem__(self, number: int) -> tuple[int, int]:
        with self._lock:
            while self._starts[-1] <= number:
                size = len(self._batches.block(self._block + len(self._starts) - 1))
                self._starts.append(self._starts[-1] + size)
            ahead = bisect.bisect_right(self._starts, number) - 1
            return self._block + ahead, number - self._starts[ahead]


@dataclasses.dataclass(frozen=True)
class Share:
    """The rows that one process makes of every batch: which of `count` equal blocks of consecutive rows.

    Blocks go by where the devices of a process lie in the mesh (`sharding.own_blocks`): processes may hold the same
    ones, and those of a process need not be neighbours.
    """

    blocks: tuple[int, ...] = (0,)
    count: int = 1

    def __post_init__(self):
        if not self.blocks or list(self.blocks) != sorted({*self.blocks} & {*range(self.count)}):
            raise ValueError(f"blocks are {self.blocks} of {self.count}; expected growing numbers below {self.count}")

    def rows(self, total: int) -> np.ndarray:
        """Indices of this share's rows in a batch of `total`, in their order there."""
        if total % self.count:
            raise ValueError(f"a batch of {total} rows does not split into {self.count} equal blocks")
        return np.arange(total).reshape(self.count, -1)[list(self.blocks)].reshape(-1)

    @property
    def fraction(self) -> float:
        """Of the rows of a batch."""
        return len(self.blocks) / self.count


WHOLE = Share()

"""Which rows make up batch number `step`: a pure function of the seed, so that a run's data state is one number.

Order: mixture of parts, shuffle, repeat, then blocks of whole batches.  Inside a block rows are sorted by length bucket
and cut into batches, and the batches are shuffled: a batch is padded to the smallest bucket that holds its longest row,
no row is dropped, and every process computes the same plan, so shapes agree on a pod.  A process takes its share of a
finished plan last: neither order nor noise depends on the mesh or the number of processes.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence

import grain
import numpy as np

from metis_jax.data.recipes import Recipe


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
    frames: int  # the bucket all rows are padded to
    rows: tuple[Row, ...]


class Batches:
    """Random access to batch plans.

    `draw(part, item, rng, limit)` returns a recipe of at most `limit` frames.
    """

    def __init__(
        self,
        order: grain.MapDataset,
        draw: Callable[[int, int, np.random.Generator, int], Recipe],
        *,
        buckets: Sequence[int],
        batch_size: int,
        block_batches: int,
        seed: int,
    ):
        if list(buckets) != sorted(set(buckets)) or not buckets or buckets[0] <= 0:
            raise ValueError(f"buckets are {tuple(buckets)}; expected growing positive frame counts")
        if batch_size <= 0 or block_batches <= 0:
            raise ValueError(f"batch_size is {batch_size}, block_batches {block_batches}; both must be positive")
        self.order, self.draw, self.seed = order, draw, seed
        self.buckets = tuple(buckets)
        self.batch_size = batch_size
        self.block_batches = block_batches
        self._block = functools.lru_cache(maxsize=4)(self._plan_block)

    def __getstate__(self):
        return {key: value for key, value in self.__dict__.items() if key != "_block"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._block = functools.lru_cache(maxsize=4)(self._plan_block)

    def __getitem__(self, step: int) -> BatchPlan:
        block, place = divmod(step, self.block_batches)
        return self._block(block)[place]

    def plan_row(self, position: int) -> Row:
        part, item = self.order[position]
        rng = rng_of(self.seed, "recipe", position)
        return Row(position, part, self.draw(part, item, rng, self.buckets[-1]))

    def replace(self, step: int, row: Row, frames: int) -> Row | None:
        """A stand-in for a row that met a bad record: another recipe of its block that fits into `frames` frames.

        The draw is seeded by position and attempt, so every run and process finds the same one; None if there is none.
        """
        attempt = row.attempt + 1
        block = self._block(step // self.block_batches)
        fitting = [
            other
            for plan in block
            for other in plan.rows
            if other.recipe.frames <= frames and other.recipe.target.record != row.recipe.target.record
        ]
        if not fitting:
            return None
        fitting.sort(key=lambda other: other.position)
        chosen = fitting[int(rng_of(self.seed, "replace", row.position, attempt).integers(len(fitting)))]
        return Row(row.position, chosen.part, chosen.recipe, attempt)

    def bucket(self, frames: int) -> int:
        for bucket in self.buckets:
            if frames <= bucket:
                return bucket
        raise ValueError(f"a row of {frames} frames is longer than the largest bucket, {self.buckets[-1]}")

    def _plan_block(self, block: int) -> list[BatchPlan]:
        size = self.batch_size * self.block_batches
        rows = [self.plan_row(position) for position in range(block * size, (block + 1) * size)]
        rows.sort(key=lambda row: self.bucket(row.recipe.frames))
        plans = []
        for start in range(0, size, self.batch_size):
            chosen = tuple(rows[start : start + self.batch_size])
            plans.append(BatchPlan(self.bucket(max(row.recipe.frames for row in chosen)), chosen))
        order = rng_of(self.seed, "block", block).permutation(len(plans))
        return [plans[index] for index in order]


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

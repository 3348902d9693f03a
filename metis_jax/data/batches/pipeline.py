"""Grain pipelines: shards in, batches of numpy arrays out.

A batch is a dict: `lengths` [b] in frames at 50 Hz, and what its kind says (`BATCH_KINDS`).  `b` is this process's
`Share` of the rows that a batch of its bucket has.

The state is {"step": batches taken, "block", "place": where the next one lies, "rows": of a batch in each bucket,
"fingerprint"}: a pure function of the seed leads from there to the next batch (see `plans.py`), so a run stopped on
one number of devices, processes, threads or workers goes on with any other.
"""

import copy
import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from metis_jax.data.batches.examples import (
    LIPS,
    Batch,
    Example,
    ExampleConfig,
    Material,
    Phonemize,
    UnusableRecord,
    Waves,
)
from metis_jax.data.batches.kinds import Coded, Heard, Kind, Sizes, Tokens, TokensOfBoth
from metis_jax.data.batches.plans import WHOLE, Batches, BatchPlan, Places, Row, Share, mixed_order
from metis_jax.data.batches.recipes import GUIDED, NoExamples, Part, RecipeConfig
from metis_jax.data.batches.tasks import Tasks
from metis_jax.data.corpus.corpus import BadRecordGuard, BadRecordLimit, Corpus, Selection, Split, TooManyBadRecords
from metis_jax.files.places import check_is_local
from metis_jax.sections import from_config_dict, to_dict
from metis_jax.tasks import TASKS

log = logging.getLogger(__name__)

# By what `config.data.stage` says.
BATCH_KINDS: dict[str, Kind] = {
    "ssl_encoder": Heard(),
    "semantic_codec": Heard(),
    "acoustic_codec": Coded(),
    "pretrain": Tokens(),
    "finetune": Tasks(),
    "stage2": TokensOfBoth(),
}

# The keys that may be changed between a run and its continuation.  Rows are in the state itself.
_EXECUTION = ("rows", "shards", "cached_seconds", "threads", "prefetch", "workers", "bad_records")


def _check(values: Sequence[float | int], name: str, least: int, most: int) -> None:
    for value in values:
        if not least <= value <= most:
            raise ValueError(f"{name} is {value}; expected {least} to {most}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartConfig:
    """One share of the mixture.  `task` is needed for fine-tuning: one of `TASKS`; omni is several parts."""

    task: str = ""
    weight: float = 1.0
    select: Selection = Selection()

    def __post_init__(self):
        if not 0 < self.weight <= 1e9:
            raise ValueError(f"weight is {self.weight}; it must be positive, and at most 1e9")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """A stage's data.

    Attributes:
      shards: folders (or files) of shards.
      validation_shards: folders of a development set.  With it nothing else is held out but what the corpus itself
        holds out.
      rows: of the whole batch, over all processes: one number for every bucket, or the same for all.
      buckets: padded lengths in frames; the largest is the longest crop.
      noise, rooms: where degradations find recorded noise and measured rooms.  They are split as speech is, so that
        validation hears none of what training hears.
      block_batches: about how many batches are planned together; more of them means less padding and a longer plan.
      cached_seconds: decoded speech kept in memory (64 KB a second at 16 kHz), for corpora that fit.
      threads, prefetch: batches made at once and kept ready.  `workers`: processes, for machines with many cores; each
        then counts the bad records that it met itself.
    """

    stage: str
    shards: tuple[str, ...] | str
    rows: tuple[int, ...] | int
    buckets: tuple[int, ...] = (250, 500, 750, 1000, 1500)
    validation_shards: tuple[str, ...] | str = ()
    parts: tuple[PartConfig | Mapping[str, Any], ...] = (PartConfig(),)
    recipe: RecipeConfig = RecipeConfig()
    example: ExampleConfig = ExampleConfig()
    noise: Selection = Selection(kinds=("noise",))
    rooms: Selection = Selection(kinds=("rir",))
    seed: int = 0
    block_batches: int = 32
    cached_seconds: float = 0.0
    threads: int = 4
    prefetch: int = 8
    workers: int = 0
    bad_records: BadRecordLimit = BadRecordLimit()

    def __post_init__(self):
        if self.stage not in BATCH_KINDS:
            raise ValueError(f"stage is {self.stage!r}; use one of {', '.join(BATCH_KINDS)}")
        for name in ("shards", "validation_shards"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, (value,))
            for folder in getattr(self, name):
                check_is_local(folder)
        _check(self.buckets, "buckets", least=1, most=10**6)
        if not self.buckets or list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"buckets is {self.buckets}; expected lengths that rise")
        for name, least, most in (
            ("block_batches", 1, 10**6),
            ("cached_seconds", 0, 10**9),
            ("threads", 0, 1024),
            ("prefetch", 0, 10**4),
            ("workers", 0, 1024),
        ):
            _check((getattr(self, name),), name, least, most)
        if isinstance(self.rows, int):
            object.__setattr__(self, "rows", (self.rows,) * len(self.buckets))
        # A config file says parts as plain mappings.
        parts = tuple(
            from_config_dict(PartConfig, part, where="parts") if isinstance(part, Mapping) else part
            for part in self.parts
        )
        if self.validation_shards:
            parts = tuple(
                dataclasses.replace(part, select=dataclasses.replace(part.select, held_out_share=0.0)) for part in parts
            )
        object.__setattr__(self, "parts", parts)
        if not parts:
            raise ValueError("parts is empty; give at least one")
        for part in parts:
            allowed = tuple(TASKS) if self.stage == "finetune" else ("",)
            if part.task not in allowed:
                raise ValueError(f"task is {part.task!r} in stage {self.stage}; use one of {allowed}")

    def for_split(self, split: str) -> "PipelineConfig":
        """The same data from the other side of the split: speech, noise and rooms."""
        parts = tuple(
            dataclasses.replace(part, select=dataclasses.replace(part.select, split=split)) for part in self.parts
        )
        noise, rooms = (dataclasses.replace(one, split=split) for one in (self.noise, self.rooms))
        return dataclasses.replace(self, parts=parts, noise=noise, rooms=rooms)


class Pipeline:
    """The batches of one process, its `share` of each, by `iterator()`; the first ones also by `pipeline[step]`."""

    def __init__(
        self,
        config: PipelineConfig,
        *,
        share: Share = WHOLE,
        phonemize: Phonemize | None = None,
        corpus: Corpus | None = None,
    ):
        self.config, self.share = config, share
        self.guard = BadRecordGuard(config.bad_records)
        self.corpus = corpus = corpus or Corpus(config.shards, config.validation_shards)
        self._phonemize = phonemize
        self._kind = BATCH_KINDS[config.stage]
        frames = [self._kind.frames(corpus, config.example.target, part.task) for part in config.parts]
        self._splits = [self._split(*pair) for pair in zip(config.parts, frames, strict=True)]
        # What one part holds out, no other may train on.
        held_out = np.concatenate([split.validation for split in self._splits])
        self.parts = [
            self._part(part, own, self._selected(part.select, split, held_out))
            for part, own, split in zip(config.parts, frames, self._splits, strict=True)
        ]
        split = config.parts[0].select.split
        for part in self.parts:
            said = f"{part.task or config.stage}, {split}: {len(part)} records, {part.left_out} left out"
            log.info(f"{said}, of {part.lacks}" if part.left_out else said)
        order = mixed_order([len(part) for part in self.parts], [part.weight for part in config.parts], config.seed)
        self.plans = Batches(
            order,
            self._draw,
            buckets=config.buckets,
            rows=config.rows,
            block_batches=config.block_batches,
            seed=config.seed,
        )
        self.material = Material(
            Waves(corpus, config.cached_seconds),
            config.example,
            seed=config.seed,
            speakers=self.parts[0].speakers,
            interferers=[part.items for part in self.parts],
            noises=self._recorded(config.noise),
            rooms=self._recorded(config.rooms),
            phonemize=phonemize,
        )
        if not len(self.material.noises) and {"se", "tse"} & {part.task for part in config.parts}:
            log.info("%s: no recorded noise in the shards, so speech is degraded with coloured noise alone", split)

    def _part(self, part: PartConfig, frames: np.ndarray, selected: np.ndarray) -> Part:
        config = self.config
        return Part(
            self.corpus,
            selected,
            frames,
            split=part.select.split,
            task=part.task,
            text=part.task == "tts" or (part.task in GUIDED and config.example.text_guided > 0),
            lips=LIPS[config.example.lips],
            can_phonemize=self._phonemize is not None,
            config=config.recipe,
            max_frames=config.buckets[-1],
        )

    def _split(self, part: PartConfig, frames: np.ndarray) -> Split:
        """Both sides of a part's selection, such that examples can be made of each where that can be."""

        def serves(train: np.ndarray, validation: np.ndarray) -> bool:
            try:
                self._part(part, frames, train)
                self._part(part, frames, validation)
            except NoExamples:
                return False
            return True

        return self.corpus.split(part.select, serves)

    def _recorded(self, selection: Selection) -> np.ndarray:
        """Noises or rooms of one side of their split; all of them where they can not be split."""
        found = self.corpus.select(selection)
        return found if len(found) else self.corpus.select(dataclasses.replace(selection, split="all"))

    def _selected(self, selection: Selection, split: Split, held_out: np.ndarray) -> np.ndarray:
        if selection.split == "all":
            return self.corpus.select(selection)
        return split.validation if selection.split == "validation" else np.setdiff1d(split.train, held_out)

    def validation(self) -> "Pipeline | None":
        """Batches of what training leaves out, of every task for which it leaves out enough; None if that is none."""
        config = self.config
        parts = []
        for part, split in zip(config.parts, self._splits, strict=True):
            if split.serves:
                parts.append(part)
                continue
            why = "the development set has too little" if config.validation_shards else "too little to hold out"
            log.info("%s: trained without validation, %s", part.task or config.stage, why)
        if not parts:
            return None
        return Pipeline(
            dataclasses.replace(config, parts=tuple(parts)).for_split("validation"),
            share=self.share,
            phonemize=self._phonemize,
            corpus=self.corpus,
        )

    def _draw(self, part: int, item: int, rng: np.random.Generator, limit: int):
        return self.parts[part].draw(item, rng, limit)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What must be equal for a run to go on with the same batches."""
        fixed = {name: value for name, value in to_dict(self.config).items() if name not in _EXECUTION}
        for selection in (fixed["noise"], fixed["rooms"], *(part["select"] for part in fixed["parts"])):
            if selection["training_share"] == 1:  # as if it were not said: runs from before it could be go on
                del selection["training_share"]
        text = json.dumps([fixed, self.corpus.fingerprint()], sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def with_rows(self, rows: Sequence[int]) -> "Pipeline":
        """The same data in batches of other numbers of rows."""
        other = copy.copy(self)
        other.config, other.plans = dataclasses.replace(self.config, rows=tuple(rows)), self.plans.with_rows(rows)
        return other

    def __getitem__(self, step: int) -> Batch:
        return self.make(self.plans[step])

    def make(self, plan: BatchPlan) -> Batch:
        """This process's share of a planned batch."""
        rows = [plan.rows[index] for index in self.share.rows(len(plan.rows))]
        return self._stack([self._example(plan, row) for row in rows], plan.frames)

    def _example(self, plan: BatchPlan, row: Row) -> tuple[Row, Example]:
        while True:
            try:
                example = self._kind.example(self.material, row)
                self.guard.good()
                return row, example
            except UnusableRecord as error:
                self.guard.skip(self.corpus.name(error.record), str(error))
                other = self.plans.replace(plan, row)
                if other is None or other.attempt > 100:
                    name = self.corpus.name(error.record)
                    raise TooManyBadRecords(f"no readable record in place of {name}: {error}") from error
                row = other

    def _stack(self, rows: list[tuple[Row, Example]], frames: int) -> Batch:
        config = self.config
        tasks = frozenset(part.task for part in config.parts)
        sizes = Sizes(frames, tasks, config.example, config.recipe.prompt_frames[1])
        lengths = np.asarray([row.recipe.frames for row, _ in rows], np.int32)
        return {"lengths": lengths} | self._kind.arrays([example for _, example in rows], sizes)

    def iterator(self) -> "BatchIterator":
        """The batches from the first on, made ahead by threads or worker processes."""
        return BatchIterator(self)


class _From:
    """The places of a pipeline's batches from one on, as a Grain source: the restart point of an iterator."""

    def __init__(self, pipeline: Pipeline, block: int, place: int):
        self.pipeline, self.start = pipeline, (block, place)
        self._places = Places(pipeline.plans, block, place)

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self._places[index]

    def __repr__(self) -> str:
        return f"batches of {self.pipeline.config.stage} from {self.start}"

    def __getstate__(self):
        return self.pipeline, *self.start

    def __setstate__(self, state):
        self.__init__(*state)


class _Make(grain.transforms.Map):
    """A place and the batch there."""

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline

    def map(self, at: tuple[int, int]) -> tuple[tuple[int, int], Batch]:
        block, place = at
        return at, self.pipeline.make(self.pipeline.plans.block(block)[place])


class BatchIterator(Iterator[Batch]):
    """Endless batches with an exact, JSON-serialisable state."""

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline
        self._batches = None
        self._start(0, 0, 0)

    def _start(self, step: int, block: int, place: int) -> None:
        """Batches from a place on, `step` of which have been taken before."""
        self.close()
        config = self.pipeline.config
        self._step, self._block, self._place = step, block, place
        dataset = grain.MapDataset.source(_From(self.pipeline, block, place)).map(_Make(self.pipeline))
        if config.workers:
            # Grain's workers read absl's flags, which not every program that uses a pipeline has parsed.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            # Workers read ahead on their own; each makes its batches with one thread.
            options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
            per_worker = max(1, config.prefetch // config.workers)
            dataset = dataset.to_iter_dataset(options).mp_prefetch(
                grain.MultiprocessingOptions(num_workers=config.workers, per_worker_buffer_size=per_worker)
            )
        else:
            dataset = dataset.to_iter_dataset(
                grain.ReadOptions(num_threads=config.threads, prefetch_buffer_size=config.prefetch)
            )
        self._batches = iter(dataset)

    def __next__(self) -> Batch:
        (block, place), batch = next(self._batches)
        # The place behind the last batch of a block stands for the first of the next.
        self._step, self._block, self._place = self._step + 1, int(block), int(place) + 1
        return batch

    def get_state(self) -> dict[str, Any]:
        place = {"step": self._step, "block": self._block, "place": self._place}
        return place | {"rows": list(self.pipeline.plans.rows), "fingerprint": self.pipeline.fingerprint}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues after `state`; a state of other batches, other data or another data config is an error."""
        place = [state.get(name) for name in ("step", "block", "place")]
        if not all(isinstance(number, int) and number >= 0 for number in place):
            raise ValueError(f"data state has step, block and place {place}; expected where the next batch lies")
        rows, fingerprint = state.get("rows"), state.get("fingerprint")
        if rows != list(self.pipeline.plans.rows):
            raise ValueError(
                f"data state is of batches of {rows} rows, this pipeline makes {list(self.pipeline.plans.rows)}; "
                "give it those of the state, by `with_rows`"
            )
        if fingerprint != self.pipeline.fingerprint:
            raise ValueError(
                f"data state of fingerprint {fingerprint!r} for a pipeline of {self.pipeline.fingerprint!r}: shards or "
                "data config changed since the checkpoint; continue with the old ones or start a new run"
            )
        self._start(*place)

    def close(self) -> None:
        if self._batches is not None and hasattr(self._batches, "close"):
            self._batches.close()
        self._batches = None

"""The kinds of batches (`config.data.stage`): of each what a record is to it, the example of a row, and the arrays.

`t` is a bucket in frames at 50 Hz, `b` the rows.  Rows are padded with zeros at the right; audio is float32, tokens and
all that counts are int32.  Every batch has `lengths` [b] as well, in frames.
"""

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np

from metis_jax.audio.waves import fit, resampled_length
from metis_jax.clock import CODEC_HOP, CODEC_RATE, SSL_RATE, ssl_frames, ssl_samples
from metis_jax.data.batches.examples import Batch, Example, ExampleConfig, Material
from metis_jax.data.batches.plans import Row
from metis_jax.data.batches.recipes import Piece
from metis_jax.data.corpus.corpus import Corpus
from metis_jax.data.corpus.records import Record


def padded(examples: Sequence[Example], key: str, size: int, dtype: type, trailing: tuple[int, ...] = ()) -> np.ndarray:
    """[b, size, …] of what examples have under a key, zeros where one has nothing."""
    out = np.zeros((len(examples), size, *trailing), dtype)
    for index, example in enumerate(examples):
        if key in example:
            out[index, : len(example[key])] = example[key]
    return out


def lengths_of(examples: Sequence[Example], key: str) -> np.ndarray:
    """[b] int32; 0 where an example has nothing under the key."""
    return np.asarray([len(example[key]) if key in example else 0 for example in examples], np.int32)


def padded_wave(examples: Sequence[Example], key: str, samples: int) -> Batch:
    """A wave and its lengths in samples."""
    return {key: padded(examples, key, samples, np.float32), f"{key}_lengths": lengths_of(examples, key)}


def heard_frames(corpus: Corpus) -> np.ndarray:
    """SSL frames of every record, heard from its wave."""
    column = corpus.columns
    samples = resampled_length(column["samples"].astype(np.int64), column["sample_rate"], SSL_RATE)
    return np.fromiter((ssl_frames(int(count)) for count in samples), np.int64, len(samples))


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What the static shapes of a batch follow from.

    Attributes:
      frames: of its bucket.
      tasks: of rows that may lie in it.
      prompt_frames: of the longest prompt of tse and vc.
    """

    frames: int
    tasks: frozenset[str]
    example: ExampleConfig
    prompt_frames: int


class Kind(abc.ABC):
    """One kind of batch."""

    @abc.abstractmethod
    def frames(self, corpus: Corpus, target: str, task: str) -> np.ndarray:
        """Frames of every record as this kind (and `task`) sees it; 0 where it lacks what that needs.

        `target` is that of the `ExampleConfig`.
        """

    @abc.abstractmethod
    def example(self, material: Material, row: Row) -> Example:
        """What the row holds, not padded; the same whenever it is asked for."""

    @abc.abstractmethod
    def arrays(self, examples: Sequence[Example], sizes: Sizes) -> Batch:
        """Every key of a batch but `lengths`, padded to its static shape."""


class Heard(Kind):
    """`wave` [b, l] at 16 kHz, l = ssl_samples(t), so that the SSL front end yields t frames; `wave_lengths`."""

    def frames(self, corpus: Corpus, target: str, task: str) -> np.ndarray:
        return heard_frames(corpus) * corpus.columns["has_audio"]

    def example(self, material: Material, row: Row) -> Example:
        piece = row.recipe.target
        wave = material.piece(material.waves.record(piece.record), piece)
        return {"wave": material.augmented(material.rng(row), wave, SSL_RATE)}

    def arrays(self, examples: Sequence[Example], sizes: Sizes) -> Batch:
        return padded_wave(examples, "wave", ssl_samples(sizes.frames))


class Coded(Kind):
    """`wave` [b, l] at 24 kHz, l = 480 t; `wave_lengths`."""

    def frames(self, corpus: Corpus, target: str, task: str) -> np.ndarray:
        column = corpus.columns
        samples = resampled_length(column["samples"].astype(np.int64), column["sample_rate"], CODEC_RATE)
        return -(-samples // CODEC_HOP) * column["has_audio"]

    def example(self, material: Material, row: Row) -> Example:
        piece = row.recipe.target
        record, samples = material.waves.record(piece.record), piece.frames * CODEC_HOP
        cut = material.waves.excerpt(record, piece.record, CODEC_RATE, piece.start * CODEC_HOP, samples)
        return {"wave": material.augmented(material.rng(row), fit(cut, samples), CODEC_RATE)}

    def arrays(self, examples: Sequence[Example], sizes: Sizes) -> Batch:
        return padded_wave(examples, "wave", CODEC_HOP * sizes.frames)


def _cut(material: Material, record: Record, piece: Piece, name: str) -> np.ndarray:
    """A piece of a record's tokens."""
    tokens = material.waves.array(record, piece.record, name)
    return tokens[piece.start : piece.start + piece.frames].astype(np.int32)


class Tokens(Kind):
    """`tokens` [b, t] of SSL."""

    def frames(self, corpus: Corpus, target: str, task: str) -> np.ndarray:
        return corpus.columns["length_ssl_tokens"].astype(np.int64)

    def example(self, material: Material, row: Row) -> Example:
        piece = row.recipe.target
        return {"tokens": _cut(material, material.waves.record(piece.record), piece, "ssl_tokens")}

    def arrays(self, examples: Sequence[Example], sizes: Sizes) -> Batch:
        return {"tokens": padded(examples, "tokens", sizes.frames, np.int32)}


class TokensOfBoth(Kind):
    """`tokens` [b, t] of SSL and `acoustic_tokens` [b, t, q]; where `degraded_prompts` is above 0 also `prompt_tokens`
    [b, t, q], acoustic tokens as a prompt has them.
    """

    def frames(self, corpus: Corpus, target: str, task: str) -> np.ndarray:
        column = corpus.columns
        return np.minimum(column["length_ssl_tokens"], column["length_acoustic_tokens"]).astype(np.int64)

    def example(self, material: Material, row: Row) -> Example:
        piece, rng = row.recipe.target, material.rng(row)
        record = material.waves.record(piece.record)
        example = {"tokens": _cut(material, record, piece, "ssl_tokens")}
        example["acoustic_tokens"] = example["prompt_tokens"] = _cut(material, record, piece, "acoustic_tokens")
        degraded = "degraded_acoustic_tokens"
        if degraded in record.arrays and rng.random() < material.config.degraded_prompts:
            example["prompt_tokens"] = _cut(material, record, piece, degraded)
        return example

    def arrays(self, examples: Sequence[Example], sizes: Sizes) -> Batch:
        levels = {example["acoustic_tokens"].shape[1] for example in examples}
        if len(levels) != 1:
            raise ValueError(f"acoustic_tokens with {sorted(levels)} levels in one batch; extract them again")
        width = (levels.pop(),)
        names = ("acoustic_tokens", "prompt_tokens") if sizes.example.degraded_prompts > 0 else ("acoustic_tokens",)
        return {"tokens": padded(examples, "tokens", sizes.frames, np.int32)} | {
            name: padded(examples, name, sizes.frames, np.int32, width) for name in names
        }

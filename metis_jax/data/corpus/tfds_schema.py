"""The record schema as TensorFlow Datasets features: what the builders in `tfds_builders.py` share.

A builder names a corpus layout and stores its records as `array_record` files with one feature per field of `Record`,
so that other programs can read them by `tfds.builder_from_directory`; TensorFlow itself is never imported.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from metis_jax.data.corpus.items import list_items
from metis_jax.data.corpus.prepare import PrepareConfig, judge, pack
from metis_jax.data.corpus.records import Record

TEXTS = ("id", "kind", "text", "speaker", "language", "license", "source", "condition")
BYTES = ("audio", "source_audio")
NUMBERS = ("sample_rate", "samples")


def features() -> tfds.features.FeaturesDict:
    """One feature per field of a record.  `tfds.features.Audio` would import TensorFlow; bytes do not."""
    fields: dict[str, Any] = {name: tfds.features.Text() for name in TEXTS}
    fields |= {name: tfds.features.Scalar(np.object_) for name in BYTES}
    fields |= {name: np.int64 for name in NUMBERS}
    return tfds.features.FeaturesDict(fields | {"held_out": np.bool_})


def to_record(example: dict[str, Any]) -> Record:
    """The record of one example as TFDS gives it back."""
    return Record(
        **{name: example[name].decode() for name in TEXTS},
        **{name: bytes(example[name]) for name in BYTES},
        **{name: int(example[name]) for name in NUMBERS},
        held_out=bool(example["held_out"]),
    )


class RecordBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder over a folder in one of the layouts of `corpora`; a subclass names the layout.

    `manual_dir` is the corpus as published.  What `prepare` would refuse is left out; duplicates are not looked for.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the folder of the corpus as published."
    LAYOUT = ""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, description=type(self).__doc__ or "", features=features())

    def _split_generators(self, manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {"train": self._generate_examples(list_items(manager.manual_dir, self.LAYOUT))}

    def _generate_examples(self, items: Sequence) -> Iterator[tuple[str, dict[str, Any]]]:
        config = PrepareConfig()
        for item in items:
            verdict = judge(item, config)
            if not verdict.reason:
                record = pack(item, verdict)
                yield item.id, {name: getattr(record, name) for name in (*TEXTS, *BYTES, *NUMBERS, "held_out")}


def build(builder: type[RecordBuilder], source: str, output: str, shard_count: int = 0) -> tfds.core.DatasetBuilder:
    """Writes the data set of a corpus folder under `output`; what is already there is left as it is."""
    config = tfds.download.DownloadConfig(manual_dir=source, num_shards=shard_count or None)
    made = builder(data_dir=output, file_format="array_record")
    made.download_and_prepare(download_config=config)
    return made

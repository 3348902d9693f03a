"""Reads a TFDS folder of the record schema (`tfds_schema.py`) into a pipeline."""

import os
import pathlib
from collections.abc import Callable

from metis_jax.data.corpus import shards
from metis_jax.data.corpus.records import Record, RecordError

_INDEX = "records.index.json"


class TfdsRecords:
    """The records of a TFDS folder, all splits one after the other; `add` takes their index."""

    def __init__(self, folder: str | os.PathLike, add: Callable[[dict[str, list]], int]):
        # Here and not above: TFDS takes seconds to import, and most corpora are plain shards.
        import tensorflow_datasets as tfds

        from metis_jax.data.corpus.tfds_schema import to_record

        self.folder = pathlib.Path(folder)
        self._to_record = to_record
        builder = tfds.builder_from_directory(str(folder))
        self._sources = [builder.as_data_source(split=split) for split in sorted(builder.info.splits)]
        self._sizes = [len(source) for source in self._sources]
        add(self._columns())

    def __getitem__(self, index: int) -> Record:
        where = f"{self.folder.name} record {index}"
        for source, size in zip(self._sources, self._sizes, strict=True):
            if index < size:
                try:
                    return self._to_record(source[index])
                except (RuntimeError, OSError, KeyError, AttributeError, ValueError) as error:
                    raise RecordError(f"{where}: {type(error).__name__}: {error}") from error
            index -= size
        raise IndexError(where)

    def _columns(self) -> dict[str, list]:
        """The index columns: read once from every record, then kept beside the data set where that can be written."""
        path = self.folder / _INDEX
        count = sum(self._sizes)
        if path.exists():
            columns = shards.load_columns(path)
            if len(columns["id"]) == count:
                return columns
        columns = shards.index_columns(shards.outline(self[index]) for index in range(count))
        if os.access(self.folder, os.W_OK):
            shards.write_index(path, columns)
        return columns

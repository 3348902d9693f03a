"""The columns of an index in little memory: a corpus of 10^8 records is planned on one host.

Numbers are of the narrowest type that holds them.  Texts that come again are numbers into a table of what they say, and
ids are UTF-8.  `n` is the number of records, `v` that of different texts.
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from metis_jax.data.corpus.shards import INDEX

# These are divided by each other: of two int16 that makes float32, of wider ones float64.
_LEAST = {"sample_rate": np.int32, "samples": np.int32}
_SIGNED = (np.int16, np.int32, np.int64)

Index = int | np.integer | slice | Sequence[int] | np.ndarray  # gives one text, or an array of them


class Labels:
    """A column of few texts: speakers, languages, licences.

    Attributes:
      codes: [n] unsigned, which of `values` each record has.
      values: [v] str, as objects, in the order in which they came; each is some record's.
    """

    def __init__(self, codes: np.ndarray, values: Sequence[str]):
        self.codes, self.values = codes, np.asarray(values, object)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: Index) -> str | np.ndarray:
        return self.values[self.codes[index]]

    def tolist(self) -> list[str]:
        return self[:].tolist()

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.values.nbytes + sum(map(sys.getsizeof, self.values))

    def isin(self, texts: Sequence[str]) -> np.ndarray:
        """Which records have one of the texts, bool [n]."""
        return np.isin(self.values, texts)[self.codes]

    def contains_any(self, parts: Sequence[str]) -> np.ndarray:
        """Which records have a text with one of the parts in it, in any case, bool [n]."""
        found = [any(part.lower() in text.lower() for part in parts) for text in self.values]
        return np.asarray(found, bool)[self.codes]


class Texts:
    """A column of texts of their own: ids.

    Attributes:
      data: [bytes] uint8, all texts as UTF-8, one behind the other.
      bounds: [n + 1] unsigned, where each begins in `data` and where the last one ends.
    """

    def __init__(self, data: np.ndarray, lengths: np.ndarray):
        self.data = data
        self.bounds = np.zeros(len(lengths) + 1, np.min_scalar_type(len(data)))
        np.cumsum(lengths, dtype=self.bounds.dtype, out=self.bounds[1:])

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, index: Index) -> str | np.ndarray:
        if isinstance(index, slice):
            return self[np.arange(*index.indices(len(self)))]
        if np.ndim(index):
            places = np.flatnonzero(index) if np.asarray(index).dtype == bool else index
            return np.asarray([self[place] for place in places], object)
        place = range(len(self))[index]
        return self.data[self.bounds[place] : self.bounds[place + 1]].tobytes().decode()

    def tolist(self) -> list[str]:
        return self[:].tolist()

    @property
    def nbytes(self) -> int:
        return self.data.nbytes + self.bounds.nbytes


Column = np.ndarray | Labels | Texts


class Columns:
    """Columns in the making: the tables of shards come one by one, and none of them is kept."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[np.ndarray]] = {name: [] for name in INDEX}
        self._codes: dict[str, dict[str, int]] = {name: {} for name, kind in INDEX.items() if kind is str}
        self._id_bytes: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(map(len, self._numbers["id"]))

    def add(self, table: Mapping[str, list]) -> int:
        """Puts the records of a shard behind those that are there; how many they are.  `table` has all of `INDEX`."""
        for name, kind in INDEX.items():
            values = table[name]
            if name == "id":
                encoded = [text.encode() for text in values]
                self._id_bytes.append(np.frombuffer(b"".join(encoded), np.uint8))
                numbers = narrow(np.fromiter(map(len, encoded), np.int64, len(values)))
            elif kind is str:
                codes = self._codes[name]
                for text in dict.fromkeys(values):
                    codes.setdefault(text, len(codes))
                numbers = np.fromiter(map(codes.__getitem__, values), np.min_scalar_type(len(codes)), len(values))
            elif kind is bool:
                numbers = np.asarray(values, bool)
            else:
                numbers = narrow(np.asarray(values, np.int64), _LEAST.get(name, np.int16))
            self._numbers[name].append(numbers)
        return len(table["id"])

    def finish(self) -> dict[str, Column]:
        """Every column of `INDEX`; what was gathered goes as they are made."""
        columns: dict[str, Column] = {}
        for name, kind in INDEX.items():
            # Types of different widths become the widest of them.
            numbers = np.concatenate(self._numbers.pop(name))
            if name == "id":
                data = np.concatenate(self._id_bytes)
                self._id_bytes.clear()
                columns[name] = Texts(data, numbers)
            else:
                columns[name] = Labels(numbers, list(self._codes.pop(name))) if kind is str else numbers
        return columns


def narrow(numbers: np.ndarray, least: type = np.int16) -> np.ndarray:
    """The numbers in the narrowest signed type from `least` on that holds all of them."""
    low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    fits = (kind for kind in _SIGNED if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return numbers.astype(np.promote_types(next(fits), least))

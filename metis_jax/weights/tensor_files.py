"""Reading and writing safetensors files one tensor at a time.

The format (https://github.com/huggingface/safetensors) is eight bytes of header length, a JSON header
`{name: {dtype, shape, data_offsets}}` and the raw little-endian data.  The library's own writer needs every tensor in
memory at once; this one needs one.  Reading checks the header against the file, so that a truncated or foreign file is
reported in one line before anything is allocated.
"""

import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from metis_jax.files.inputs import InputError, check_regular, parse_json

_DTYPES = {
    "BOOL": np.dtype(bool),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "I16": np.dtype(np.int16),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LARGEST_HEADER = 100_000_000  # the limit of the safetensors library


class WeightsError(ValueError):
    """A weights file or folder that is not what it should be; the message is one line."""


class TensorSpec(NamedTuple):
    """Shape and dtype of one tensor."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class TensorFile:
    """The tensors of one safetensors file, read on demand.

    Attributes:
      path: the file.
      specs: shape and dtype of every tensor, in file order.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.specs: dict[str, TensorSpec] = {}
        self._starts: dict[str, int] = {}
        try:
            size = check_regular(self.path)
            with open(self.path, "rb") as file:
                self._read_header(file, size)
        except InputError as error:
            raise WeightsError(str(error)) from None
        except OSError as error:
            raise WeightsError(f"{self.path}: cannot be read ({error.strerror})") from None

    def _read_header(self, file, size: int) -> None:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > _LARGEST_HEADER:
            raise WeightsError(f"{self.path}: not a safetensors file (no header)")
        if 8 + length > size:
            raise WeightsError(
                f"{self.path}: truncated or not a safetensors file, its header needs {8 + length} bytes "
                f"and the file has {size}"
            )
        begin = 8 + length
        try:
            header = parse_json(file.read(length), str(self.path))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                spec = TensorSpec(tuple(map(_count, entry["shape"])), _DTYPES[entry["dtype"]])
                start, stop = map(_count, entry["data_offsets"])
                if stop - start != spec.nbytes:
                    raise ValueError(name)
                self.specs[name], self._starts[name] = spec, begin + start
        except (ValueError, TypeError, KeyError, AttributeError):
            raise WeightsError(f"{self.path}: not a safetensors file (the header is damaged)") from None
        starts = self._starts.items()
        parts = sorted((start, start + self.specs[name].nbytes, name) for name, start in starts)
        end = max((stop for _, stop, _ in parts), default=begin)
        if end != size:
            raise WeightsError(f"{self.path}: truncated or damaged, expected {end} bytes, found {size}")
        for (_, stop, name), (start, _, other) in itertools.pairwise([(begin, begin, "the header"), *parts]):
            if start != stop:
                raise WeightsError(
                    f"{self.path}: damaged, {other!r} begins {abs(start - stop)} bytes "
                    f"{'before' if start < stop else 'after'} the end of {name!r}"
                )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: spec.shape for name, spec in self.specs.items()}

    def read(self, name: str, rows: int | None = None) -> np.ndarray:
        """One tensor, or its first `rows` along the leading axis."""
        if name not in self.specs:
            raise WeightsError(f"{self.path}: tensor {name!r} is missing")
        shape, dtype = self.specs[name]
        if rows is not None:
            shape = (min(rows, shape[0]), *shape[1:])
        # fromfile, not a memory map: pages of a map count as memory of the process for as long as it is open.
        flat = np.fromfile(self.path, dtype, count=math.prod(shape), offset=self._starts[name])
        return flat.reshape(shape)


def write_tensor_file(
    path: str | os.PathLike,
    specs: Mapping[str, TensorSpec],
    tensors: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes tensors as they come; `tensors` must yield every name of `specs`, in its order."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, spec in specs.items():
        header[name] = {
            "dtype": _NAMES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [offset, offset + spec.nbytes],
        }
        offset += spec.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    expected = iter(specs.items())
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors:
            due, spec = next(expected, (None, None))
            if name != due or TensorSpec(tensor.shape, tensor.dtype) != spec:
                raise ValueError(f"{path}: expected tensor {due!r} {spec}, got {name!r} {tensor.shape} {tensor.dtype}")
            np.asarray(tensor, order="C").tofile(file)
            del tensor  # or it would be in memory beside the next one
        if (left := next(expected, None)) is not None:
            raise ValueError(f"{path}: tensor {left[0]!r} was not written")
        file.flush()
        os.fsync(file.fileno())


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def spec_of(array: np.ndarray) -> TensorSpec:
    return TensorSpec(tuple(array.shape), np.dtype(array.dtype))


def different_shape(path: object, name: str, expected: Sequence[int], found: Sequence[int]) -> WeightsError:
    """The one wording for a misshapen tensor."""
    return WeightsError(f"{path}: tensor {name!r}: expected shape {list(expected)}, found {list(found)}")

"""What is read whole: bytes, JSON and arrays of regular files.

Every fault is an InputError whose message is one line with the name of the file, and nothing is waited for, allocated
or believed that the file does not hold: no pipes and devices, no sizes that headers invent, no depth without end.
"""

import io
import json
import math
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

LARGEST = 4 << 30  # bytes of a file that is read whole
_LARGEST_DOCUMENT = 1 << 30  # of JSON, which takes several times as much in memory
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class InputError(ValueError):
    """A file that can not be used; the message is one line."""


def check_regular(path: str | os.PathLike) -> int:
    """The bytes of a regular file, or an InputError: to open a pipe or a device may wait for ever."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a zero byte in the name
        raise InputError(f"{os.fspath(path)!r}: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: is not a regular file")
    return status.st_size


def read_bytes(path: str | os.PathLike, largest: int = LARGEST) -> bytes:
    """All of a regular file of at most `largest` bytes."""
    size = check_regular(path)
    try:
        with open(path, "rb") as file:
            data = file.read(min(size, largest) + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if len(data) > largest:
        raise InputError(f"{path}: has {size} bytes; at most {largest} are read")
    return data


def has_stray_bytes(text: str) -> bool:
    """Whether a text was decoded from bytes of which some are not UTF-8, as `os.fsdecode` keeps them."""
    return not text.isascii() and any("\udc80" <= char <= "\udcff" for char in text)


def parse_json(text: str | bytes, where: str, *, finite: bool = True) -> Any:
    """The value of a JSON text; `where` begins the message of an InputError.

    Stricter than the standard library: a key stands once in its object, numbers are finite (unless `finite` is false,
    for files of our own) and fit 64 bits, text is Unicode.  What passes can be computed with, and written again.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        if has_stray_bytes(text):
            raise InputError(f"{where}: is not UTF-8 text; save it as UTF-8")
        numbers = {"parse_float": _float, "parse_constant": _constant} if finite else {}
        value = json.loads(text, object_pairs_hook=_object, parse_int=_integer, **numbers)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{where}: not valid JSON (nested too deeply)") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not valid JSON (not UTF-8 from byte {error.start} on)") from None
    except UnicodeEncodeError:
        raise InputError(f"{where}: not valid JSON (half of a surrogate pair in a text)") from None
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON ({error})") from None
    return value


def read_json(path: str | os.PathLike, *, finite: bool = True) -> Any:
    """The value in a JSON file; see `parse_json`."""
    return parse_json(read_bytes(path, _LARGEST_DOCUMENT), str(path), finite=finite)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"the integer {text[:20]}{'…' if len(text) > 20 else ''} does not fit 64 bits")
    return int(text)


def _float(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"the number {text[:20]} is not finite")
    return float(text)


def _constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def read_array(path: str | os.PathLike) -> np.ndarray:
    """The array of an `.npy` file, of numbers."""
    return _array(read_bytes(path), str(path))


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """{name: array} of an `.npz` file, of numbers."""
    data = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            if size > LARGEST:
                raise InputError(f"{path}: its arrays have {size} bytes; at most {LARGEST} are read")
            found = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name in found:
                    raise InputError(f"{path}: two arrays are called {name!r}")
                found[name] = _array(archive.read(member), f"{path}: {member.filename}")
            return found
    except InputError:
        raise
    # What zipfile says of damage, of methods it does not know and of encryption.
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error) as error:
        raise InputError(f"{path}: not an .npz file ({error})") from None


def _array(data: bytes, where: str) -> np.ndarray:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"version {version}")
        shape, is_fortran, dtype = _HEADERS[version](file)
    except Exception as error:  # numpy's reader passes on whatever Python's parsers raise
        raise InputError(f"{where}: not an .npy file ({' '.join(str(error).split())})") from None
    if dtype.kind not in "biuf":
        raise InputError(f"{where}: holds {dtype.name}; expected numbers")
    due, found = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if min(shape, default=0) < 0 or due != found:
        raise InputError(f"{where}: damaged, {dtype}{list(shape)} takes {due} bytes and {found} are there")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if is_fortran else "C")


def finite_floats(array: np.ndarray, where: str) -> np.ndarray:
    """Floating-point numbers as float32 (float16 stays), or an InputError unless each is finite there too."""
    if array.dtype.kind != "f":
        raise InputError(f"{where}: holds {array.dtype.name}; expected floating-point numbers")
    with np.errstate(over="ignore"):
        floats = array if array.dtype == np.float16 else array.astype(np.float32)
    if not np.isfinite(floats).all():
        raise InputError(f"{where}: holds numbers that are not finite, or too large for float32")
    return floats

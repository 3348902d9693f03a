"""Text files of users as they come: UTF-8 with or without a byte order mark, lines ended in any of the three ways."""

import codecs
import os

from metis_jax.files.inputs import InputError, has_stray_bytes, read_bytes

_MOST_BYTES = 2**30


def read_text(path: str | os.PathLike, *, most_bytes: int = _MOST_BYTES) -> str:
    """The text of a file, without a byte order mark and with `\\n` at the ends of lines; InputError if it has none."""
    try:
        text = read_bytes(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from None
    return _with_one_end(text)


def _not_text(path: str | os.PathLike, error: UnicodeDecodeError) -> InputError:
    found = f"byte 0x{error.object[error.start]:02x} at {error.start}"
    return InputError(f"{path}: is not UTF-8 text ({found}); save it as UTF-8")


def _with_one_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | os.PathLike) -> list[str]:
    """The lines of a text file as an editor counts them.

    `str.splitlines` would also cut at U+2028, U+0085 and their like, which belong to the text where a line has them.
    """
    return _lines(read_text(path))


def read_entries(path: str | os.PathLike) -> list[str]:
    """The lines of a file in which each stands for itself, as the jobs of a list, so that a bad one spoils no other.

    A line that is not UTF-8 keeps its bytes as `os.fsdecode` has them; `parse_json` refuses it.  A file with more such
    lines than others, or with a NUL, is none of text: InputError.
    """
    data = read_bytes(path, _MOST_BYTES)
    try:
        return _lines(_with_one_end(data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        lines = _lines(_with_one_end(data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")))
        if b"\0" in data or 2 * sum(map(has_stray_bytes, lines)) > sum(map(bool, lines)):
            raise _not_text(path, error) from None
        return lines


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []

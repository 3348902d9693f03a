"""Text files of users as they come: UTF-8 with or without a byte order mark, lines ended in any of the three ways."""

import os

from metis_jax.inputs import InputError, read_bytes

_MOST_BYTES = 2**30


def read_text(path: str | os.PathLike, *, most_bytes: int = _MOST_BYTES) -> str:
    """The text of a file, without a byte order mark and with `\\n` at the ends of lines; InputError if it has none."""
    try:
        text = read_bytes(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 text (byte 0x{error.object[error.start]:02x} at {error.start}); save it as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | os.PathLike) -> list[str]:
    """The lines of a text file as an editor counts them.

    `str.splitlines` would also cut at U+2028, U+0085 and their like, which belong to the text where a line has them.
    """
    text = read_text(path)
    return text.removesuffix("\n").split("\n") if text else []

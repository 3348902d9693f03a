"""Text files of users as they come: UTF-8 with or without a byte order mark, lines ended in any of the three ways."""

import os
import pathlib
import stat

MOST_BYTES = 2**30


class TextFileError(ValueError):
    """A text file that can not be read; the message is one line with the file's name."""


def read_text(path: str | os.PathLike, *, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file, without a byte order mark and with `\\n` at the ends of lines.

    TextFileError for one that can not be read, is larger than `most_bytes`, or may have no end, as a pipe or a device.
    """
    path = pathlib.Path(path)
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise TextFileError(f"{path}: is {'a folder' if path.is_dir() else 'no regular file'}; give a text file")
        if state.st_size > most_bytes:
            raise TextFileError(f"{path}: has {state.st_size} bytes; at most {most_bytes} are read; split it")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise TextFileError(f"{path}: can not be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise TextFileError(
            f"{path}: is not UTF-8 text (byte 0x{error.object[error.start]:02x} at {error.start}); save it as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | os.PathLike) -> list[str]:
    """The lines of a text file as an editor counts them.

    `str.splitlines` would also cut at U+2028, U+0085 and their like, which belong to the text where a line has them.
    """
    text = read_text(path)
    return text.removesuffix("\n").split("\n") if text else []

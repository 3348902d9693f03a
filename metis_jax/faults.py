"""What went wrong, in one line: for a command that ends, or for one item of many while the rest goes on."""

_BEGIN, _END = 400, 200  # characters that are kept of a line that nobody would read


def in_one_line(error: Exception) -> str:
    """What an error says, in printable text; with its kind where it is none that is worded for users.

    Of what is long, as a name of thousands of letters, the beginning and the end.
    """
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, KeyError) and error.args:  # which quotes its message
        text = str(error.args[0])
    else:
        text = str(error)
    if not text or not isinstance(error, ValueError | OSError | ImportError | KeyError):
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    # Names of files may hold bytes that are no text.
    line = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    return line if len(line) <= _BEGIN + _END else f"{line[:_BEGIN]} … {line[-_END:]}"

"""What went wrong, in one line: for a command that ends, or for one item of many while the rest goes on."""


def in_one_line(error: Exception) -> str:
    """What an error says, in printable text; with its kind where it is none that is worded for users."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, KeyError) and error.args:  # which quotes its message
        text = str(error.args[0])
    else:
        text = str(error)
    if not text or not isinstance(error, ValueError | OSError | ImportError | KeyError):
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    # Names of files may hold bytes that are no text.
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())

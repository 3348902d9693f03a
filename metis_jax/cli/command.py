"""What every command does alike: flags in a registry of its own, `--help`, and failure as one line and exit code 2."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence

from absl import flags

from metis_jax.faults import in_one_line

# What a flag or a file can be wrong with.
REFUSALS = (ValueError, OSError, flags.Error)

CACHE_HELP = "Folder that keeps compiled programs for later runs, or `off`; by default in the user's cache folder."

# A flag belongs to the command that asked for it, not to this file.
flags.disclaim_key_flags()


def new_flags(registry: type[flags.FlagValues] = flags.FlagValues) -> flags.FlagValues:
    """A registry that knows `--help`; one for each command, so that commands can be imported side by side."""
    values = registry()
    flags.DEFINE_boolean("help", False, "Show this help.", short_name="h", flag_values=values)
    return values


def run(
    name: str,
    about: str,
    values: flags.FlagValues,
    body: Callable[[flags.FlagValues], int | None],
    argv: Sequence[str] | None = None,
    *,
    refusals: tuple[type[Exception], ...] = (),
) -> int:
    """The exit status of a command whose input is all in flags.

    Args:
      name: what its messages begin with.
      about: what `--help` says above the flags.
      values: its flags, begun by `new_flags`.
      body: the command, given its parsed flags; the exit status, None for 0.
      argv: the command line; by default the process's own.
      refusals: errors that are the user's to mend, besides `REFUSALS`.
    """

    def parsed() -> int | None:
        rest = values(list(sys.argv if argv is None else argv))
        if values.help:
            print(f"{about}{values.get_help(include_special_flags=False)}")
            return None
        if len(rest) > 1:
            raise ValueError(f"unexpected argument {rest[1]!r}; every input is a flag, see --help")
        return body(values)

    return exit_status(name, parsed, refusals=refusals)


def exit_status(name: str, body: Callable[[], int | None], *, refusals: tuple[type[Exception], ...] = ()) -> int:
    """That of `body`, None for 0; or 2 with one line on stderr.  METIS_TRACEBACK=1 shows where an error came from."""
    with contextlib.suppress(AttributeError):  # a stand-in for the stream, which takes anything
        # Consoles of another encoding, and names that are no text, are no reason to fail after all the work.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return body() or 0
    except (*REFUSALS, *refusals) as error:
        if os.environ.get("METIS_TRACEBACK"):
            raise
        print(f"{name}: {in_one_line(error)}", file=sys.stderr)
        return 2

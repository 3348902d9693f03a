"""What every command does alike: flags in a registry of its own, `--help`, and failure as one line and exit code 2."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn

from absl import flags

import metis_jax
from metis_jax.faults import in_one_line
from metis_jax.files.places import check_is_local

# What a flag or a file can be wrong with.
REFUSALS = (ValueError, OSError, flags.Error)

CACHE_HELP = "Folder that keeps compiled programs for later runs, or `off`; by default in the user's cache folder."
VOICES_HELP = "Folder of kept voices, NAME.flac and NAME.txt each; by default under the user's own data."

BEAM_HELP = "On many machines: options of an Apache Beam pipeline, as `--runner=FlinkRunner --flink_master=HOST:PORT`."

_TEXTS = frozenset(("text", "prompt_text", "license", "provenance"))  # flags that name no place, whatever they say
_AGAIN_SECONDS = 5

# A flag belongs to the command that asked for it, not to this file.
flags.disclaim_key_flags()


def new_flags(registry: type[flags.FlagValues] = flags.FlagValues) -> flags.FlagValues:
    """A registry that knows --help and --version; one for each command, so that they can be imported side by side."""
    values = registry()
    values.set_gnu_getopt()
    flags.DEFINE_boolean("help", False, "Show this help.", short_name="h", flag_values=values)
    flags.DEFINE_boolean("version", False, "Show the version.", flag_values=values)
    return values


def run(
    name: str,
    about: str,
    values: flags.FlagValues,
    body: Callable[..., int | None],
    argv: Sequence[str] | None = None,
    *,
    refusals: tuple[type[Exception], ...] = (),
    takes_words: bool = False,
) -> int:
    """The exit status of a command.

    Args:
      name: what its messages begin with.
      about: what `--help` says above the flags.
      values: its flags, begun by `new_flags`.
      body: the command, given its parsed flags and words that are none; the exit status, None for 0.
      argv: the command line behind the command's name; by default the process's own.
      refusals: errors that are the user's to mend, besides `REFUSALS`.
      takes_words: whether not all of its input is in flags.
    """

    def parsed() -> int | None:
        rest = values([name, *(sys.argv[1:] if argv is None else argv)])
        if values.help:
            print(f"{about}{values.get_help(include_special_flags=False)}")
            return None
        if values.version:
            print(f"metis_jax {metis_jax.__version__}")
            return None
        _check_places(values)
        if len(rest) > 1 and not takes_words:
            raise ValueError(f"unexpected argument {rest[1]!r}; every input is a flag, see --help")
        return body(values, *rest[1:])

    return exit_status(name, parsed, refusals=refusals)


def _check_places(values: flags.FlagValues) -> None:
    """ValueError for a flag that names a bucket.  Of an experiment's keys its own config knows which are places."""
    for name, value in values.flag_values_dict().items():
        if name not in _TEXTS and not name.startswith("config."):
            for place in value if isinstance(value, list) else [value]:
                if isinstance(place, str):
                    check_is_local(place)


def exit_status(name: str, body: Callable[[], int | None], *, refusals: tuple[type[Exception], ...] = ()) -> int:
    """That of `body`, None for 0; or 2 with one line on stderr.  METIS_TRACEBACK=1 shows where an error came from.

    After Ctrl-C or SIGTERM what was half written is removed, and the status is that of the signal, 130 or 143.
    """
    with contextlib.suppress(AttributeError):  # a stand-in for the stream, which takes anything
        # Consoles of another encoding, and names that are no text, are no reason to fail after all the work.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _told_to_stop():
            return body() or 0
    except Stopped as stop:
        print(f"{name}: stopped by {stop.signal.name}", file=sys.stderr)
        return 128 + stop.signal
    except (*REFUSALS, *refusals) as error:
        if os.environ.get("METIS_TRACEBACK"):
            raise
        said = ValueError(str(error)) if isinstance(error, flags.Error) else error  # words for users, of another kind
        print(f"{name}: {in_one_line(said)}", file=sys.stderr)
        return 2


class Stopped(BaseException):
    """Raised where a signal met the main thread; `signal` is which."""

    def __init__(self, number: int):
        super().__init__()
        self.signal = signal.Signals(number)


@contextlib.contextmanager
def _told_to_stop() -> Iterator[None]:
    """Inside the block Ctrl-C and SIGTERM raise `Stopped`, unless somebody else has taken them over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[int] = []

    def stop(number: int, _: FrameType | None) -> NoReturn:
        first.append(number)
        # A callback of JAX may swallow what is raised in it: it is raised again until the block has ended.
        signal.alarm(_AGAIN_SECONDS)
        raise Stopped(first[0])

    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    taken = {number: default for number, default in defaults.items() if signal.getsignal(number) == default}
    before = {number: signal.signal(number, stop) for number in (*taken, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


def require(given: flags.FlagValues, *names: str) -> None:
    """ValueError for flags that the command can not do without."""
    missing = [f"--{name}=…" for name in names if given[name].value in (None, [])]
    if missing:
        raise ValueError(f"give {' and '.join(missing)}; see --help")


def check_range(flag: str, value: int, least: int, most: int) -> None:
    """ValueError unless the value of a flag lies in a range."""
    if not least <= value <= most:
        raise ValueError(f"--{flag} is {value}; expected {least} to {most}")

"""Train any stage; the same command again goes on where it stopped.

    python train.py --config=configs/X.py[:words] --workdir=DIR [--config.key=value ...]
    python train.py --config=... --workdir=DIR --export=BUNDLE [--onto=BASE]
    python train.py --config=configs/X.py[:words] [--config.key=value ...] --show

The first trains until `config.steps`; the second writes what the last checkpoint holds as a bundle.  With a BASE (a
folder or `nano`) the bundle has all other models of that one too, and `infer.py` works with it.  The third prints every
key and its value, each of which can be given as `--config.key=value`.

Over several processes, give the command to each of them with --distributed on a TPU pod or under Slurm, or elsewhere
with --coordinator=HOST:PORT --processes=N --process=I.
"""

import contextlib
import logging
import os
import pathlib
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from metis_jax.cli import command
from metis_jax.data.corpus.shards import check_is_local
from metis_jax.files.outputs import lock


class _ConfigFlags(flags.FlagValues):
    """Says in a line what is wrong with an experiment file or an override of it.

    Of a key that the experiment lacks ml_collections names the key alone; of a file that ends in an error it gives the
    whole traceback.
    """

    def __call__(self, argv: Sequence[str], known_only: bool = False) -> list[str]:
        file = next((flag.removeprefix("--config=") for flag in argv if flag.startswith("--config=")), "")
        path = file.partition(":")[0]
        if path and not os.path.isfile(path):
            raise flags.IllegalFlagValueError(f"--config={file}: there is no file {path}")
        try:
            rest = super().__call__(argv, known_only)
            found = self["config"].value
            if file and not isinstance(found, ml_collections.ConfigDict):
                kind = type(found).__name__
                raise flags.IllegalFlagValueError(f"--config={file}: get_config gives a {kind}; expected a ConfigDict")
            return rest
        except flags.IllegalFlagValueError as error:
            if "Traceback" not in str(error):
                raise
            reason = re.sub(r"^\w+: ", "", str(error).strip().splitlines()[-1])
            raise flags.IllegalFlagValueError(f"--config={file}: {reason}") from error
        except (AttributeError, KeyError) as error:
            if "'get_config'" in str(error):
                raise flags.IllegalFlagValueError(f"--config={file}: no experiment, it has no get_config") from error
            # 'sed', maybe followed by: Did you mean "seed" instead of "sed"?
            key, *other = re.findall(r"""['"](\w+)\\?['"]""", str(error)) or [""]
            name = _flag_of(argv, lambda path: key in path)
            if name is None:
                raise _of_file(file, error) from error
            raise flags.IllegalFlagValueError(f"{name}: {_reason(name, key, other)}") from error
        except IndexError as error:
            if (name := _flag_of(argv, lambda path: any("[" in key for key in path))) is None:
                raise _of_file(file, error) from error
            raise flags.IllegalFlagValueError(f"{name}: this experiment has not so many") from error
        except flags.Error:
            raise
        except (Exception, SystemExit) as error:
            if found := re.match(r'Override ([\w.]+) can not be applied because field "(\w+)" is None', str(error)):
                override, section = found.groups()
                reason = f"this experiment has no {section} (it is None)"
                raise flags.IllegalFlagValueError(f"--config.{override}: {reason}") from error
            raise _of_file(file, error) from error


def _flag_of(argv: Sequence[str], concerns: Callable[[list[str]], bool]) -> str | None:
    """The first override of the command line whose path `concerns` it."""
    names = (flag.partition("=")[0] for flag in argv)
    return next((name for name in names if name.startswith("--config.") and concerns(name.split("."))), None)


def _reason(name: str, key: str, other: Sequence[str]) -> str:
    """Why an override names a key that the experiment has not; `other` are keys that it may have meant."""
    from metis_jax.training.config import FOLLOWS

    if name == f"--config.data.{key}" and key in FOLLOWS:
        return f"not set by hand, {FOLLOWS[key]}"
    return f"this experiment has no key {key!r}" + (f"; did you mean {other[0]!r}?" if other else "")


def _of_file(file: str, error: BaseException) -> flags.Error:
    """What an experiment file raised, and where in it."""
    path = os.path.realpath(file.partition(":")[0])
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _is(frame.filename, path)]
    if isinstance(error, SyntaxError) and error.filename and _is(error.filename, path):
        lines.append(error.lineno)
    where = f" line {lines[-1]}:" if lines else ""
    return flags.IllegalFlagValueError(f"--config={file}:{where} {type(error).__name__}: {error}")


def _is(name: str, path: str) -> bool:
    return os.path.realpath(name) == path


def _flags() -> flags.FlagValues:
    values = command.new_flags(_ConfigFlags)
    config_flags.DEFINE_config_file(
        "config", None, "Experiment file, with words after a colon.", lock_config=True, flag_values=values
    )
    flags.DEFINE_string("workdir", None, "Where checkpoints, metrics and samples go.", flag_values=values)
    flags.DEFINE_string("export", None, "Write this bundle from the last checkpoint, and end.", flag_values=values)
    flags.DEFINE_boolean("show", False, "Print every key of the config with its value, and end.", flag_values=values)
    flags.DEFINE_boolean("distributed", False, "Join the other processes of a pod or cluster.", flag_values=values)
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, outside of a cluster.", flag_values=values)
    flags.DEFINE_integer("processes", None, "How many there are, with --coordinator.", flag_values=values)
    flags.DEFINE_integer("process", None, "Which of them this is, from 0 on.", flag_values=values)
    flags.DEFINE_string("onto", "", "Bundle whose other models the exported one has too.", flag_values=values)
    flags.DEFINE_string("compilation_cache", None, command.CACHE_HELP, flag_values=values)
    return values


# An experiment file and its overrides can go wrong in every way that Python has.
REFUSALS = (KeyError, AttributeError, TypeError)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, also after a signal that was obeyed; 2 with one line on stderr; 3 for a lost process."""
    # ml_collections looks for --config.key=value in sys.argv, whatever it is asked to parse.
    before = sys.argv
    sys.argv = ["train", *(sys.argv[1:] if argv is None else argv)]
    # An experiment file imports its siblings as `configs`.
    sys.path.insert(0, os.getcwd())
    try:
        return command.run("train", __doc__, _flags(), _run, sys.argv[1:], refusals=REFUSALS)
    finally:
        sys.argv = before


def _lines(prefix: str, value: Any) -> Iterator[str]:
    """A `section.field = value` for every leaf, in the order of the fields; values as a shell takes them."""
    if isinstance(value, Mapping):
        items = [(f"{prefix}.{name}" if prefix else name, item) for name, item in value.items()]
    elif isinstance(value, tuple) and any(isinstance(item, Mapping) for item in value):
        items = [(f"{prefix}[{place}]", item) for place, item in enumerate(value)]
    else:
        text = value if isinstance(value, str) else repr(value)
        plain = text if '"' in text else text.replace("'", '"')  # a shell quotes with the other ones
        yield f"{prefix} = {shlex.quote(plain)}"
        return
    for name, item in items:
        yield from _lines(name, item)


def _run(given: flags.FlagValues) -> int | None:
    if given.show and given.config is not None:
        from metis_jax.training.starts.base import complete

        print(*_lines("", complete(given.config.to_dict())), sep="\n")
        return
    if given.config is None or given.workdir is None:
        raise ValueError("give --config=FILE and --workdir=DIR")
    by_hand = [given.coordinator, given.processes, given.process]
    if None in by_hand and by_hand != [None] * 3:
        raise ValueError("give --coordinator, --processes and --process together")
    if given.processes is not None and not 0 <= given.process < given.processes:
        raise ValueError(f"--process={given.process} of --processes={given.processes}; they are counted from 0")
    for path in (given.workdir, given.export or ""):
        check_is_local(path)
    if not (given.distributed or given.coordinator):
        return _train(given)
    from metis_jax.cli import processes

    processes.join(*by_hand)
    processes.together(lambda: _train(given), REFUSALS)


def _train(given: flags.FlagValues) -> None:
    # Heavy imports wait until the command line is known to be sound.
    import jax

    from metis_jax.cli.runtime import use_compilation_cache
    from metis_jax.training.export import export_bundle
    from metis_jax.training.loop import train
    from metis_jax.training.starts.base import read_config

    is_chief = jax.process_index() == 0
    level = logging.INFO if is_chief else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    for noisy in ("absl", "orbax", "jax", "tensorboardX"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    config = read_config(given.config.to_dict())
    use_compilation_cache(given.compilation_cache)
    workdir = pathlib.Path(given.workdir)
    if given.export:
        export_bundle(config, workdir, pathlib.Path(given.export), onto=given.onto)
        if is_chief:
            print(given.export)
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        taken = f"{workdir}: another training runs in this folder; wait for its end, or use another --workdir"
        try:
            with lock(workdir / ".lock", taken) if is_chief else contextlib.nullcontext():
                outcome = train(config, workdir)
        finally:
            with contextlib.suppress(OSError):  # what was refused before it began leaves no empty folder
                workdir.rmdir()
    except OSError as error:
        # A full disk does not say where.
        error.filename = error.filename or given.workdir
        raise
    end = f"stopped by {outcome.stopped_by}" if outcome.stopped_by else "done"
    if is_chief:
        print(f"{end} at step {outcome.step}; checkpoint saved in {workdir}")


if __name__ == "__main__":
    sys.exit(main())

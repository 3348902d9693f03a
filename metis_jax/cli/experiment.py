"""What commands share that take an experiment: --config, its overrides, and one line for what is wrong with them."""

import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import ml_collections
from absl import flags
from ml_collections import config_flags

from metis_jax.cli import command

# An experiment file and its overrides can go wrong in every way that Python has.
REFUSALS = (KeyError, AttributeError, TypeError)


# The folder `configs/` of a clone, which the package carries.
_SHIPPED = Path(__file__).parents[1] / "configs"


def new_flags() -> flags.FlagValues:
    """A registry with --config=FILE[:words] and --config.key=value."""
    values = command.new_flags(_ConfigFlags)
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Experiment, a file or one of the package; words after a colon.",
        lock_config=True,
        flag_values=values,
    )
    return values


def run(
    name: str,
    about: str,
    values: flags.FlagValues,
    body: Callable[[flags.FlagValues], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """As `command.run`, for flags begun by `new_flags` here."""
    # ml_collections looks for --config.key=value in sys.argv, whatever it is asked to parse.
    before = sys.argv
    sys.argv = [name, *map(_by_name, sys.argv[1:] if argv is None else argv)]
    sys.path.insert(0, os.getcwd())
    if any(str(_SHIPPED) in flag for flag in sys.argv) or importlib.util.find_spec("configs") is None:
        _use_shipped()
    try:
        return command.run(name, about, values, body, sys.argv[1:], refusals=REFUSALS)
    finally:
        sys.argv = before


def shipped(experiment: str) -> ml_collections.ConfigDict:
    """An experiment of the package by its name, with words after a colon: `finetune_se:lora`."""
    _use_shipped()
    name, _, words = experiment.partition(":")
    return importlib.import_module(f"metis_jax.configs.{name}").get_config(words)


def _use_shipped() -> None:
    """An experiment file imports its siblings as `configs`; outside of a clone they are those of the package."""
    sys.modules.setdefault("configs", importlib.import_module("metis_jax.configs"))


def _by_name(flag: str) -> str:
    """The flag, with the file of an experiment of the package where it names one: --config=pretrain:quicktest."""
    name, colon, words = flag.removeprefix("--config=").partition(":")
    shipped = _SHIPPED / f"{name.removeprefix('configs/').removesuffix('.py')}.py"
    is_name = flag.startswith("--config=") and not os.path.isfile(name) and shipped.is_file()
    return f"--config={shipped}{colon}{words}" if is_name and _SHIPPED in shipped.parents else flag


class _ConfigFlags(flags.FlagValues):
    """Says in a line what is wrong with an experiment file or an override of it.

    Of a key that the experiment lacks ml_collections names the key alone; of a file that ends in an error it gives the
    whole traceback.
    """

    def __call__(self, argv: Sequence[str], known_only: bool = False) -> list[str]:
        file = next((flag.removeprefix("--config=") for flag in argv if flag.startswith("--config=")), "")
        path = file.partition(":")[0]
        if path and not os.path.isfile(path):
            shipped = ", ".join(sorted(one.stem for one in _SHIPPED.glob("[a-z]*.py") if one.stem != "common"))
            others = "" if path.endswith(".py") else f", and the package has only {shipped}"
            raise flags.IllegalFlagValueError(f"--config={file}: there is no file {path}{others}")
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

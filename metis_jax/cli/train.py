"""Train any stage; the same command again goes on where it stopped.

    python train.py --config=configs/X.py[:words] --workdir=DIR [--config.key=value ...]
    metis-train --config=X[:words] --workdir=DIR                                  # an experiment of the package
    python train.py --config=... --workdir=DIR --export=BUNDLE [--onto=BASE]
    python train.py --config=configs/X.py[:words] [--config.key=value ...] --show

The first two train until `config.steps`; the third writes what the last checkpoint holds as a bundle.  With a BASE (a
folder or `nano`) the bundle has all other models of that one too, and `infer.py` works with it.  The last prints every
key and its value, each of which can be given as `--config.key=value`.

Over several processes, give the command to each of them with --distributed on a TPU pod or under Slurm, or elsewhere
with --coordinator=HOST:PORT --processes=N --process=I.
"""

import contextlib
import logging
import pathlib
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from metis_jax.cli import command, experiment
from metis_jax.files.outputs import lock
from metis_jax.reports import reports_of

_TALKATIVE = ("absl", "orbax", "jax", "tensorboardX")


def _flags() -> flags.FlagValues:
    values = experiment.new_flags()
    flags.DEFINE_string("workdir", None, "Where checkpoints, metrics and samples go.", flag_values=values)
    flags.DEFINE_string("export", None, "Write this bundle from the last checkpoint, and end.", flag_values=values)
    flags.DEFINE_boolean("show", False, "Print every key of the config with its value, and end.", flag_values=values)
    flags.DEFINE_boolean("distributed", False, "Join the other processes of a pod or cluster.", flag_values=values)
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, outside of a cluster.", flag_values=values)
    flags.DEFINE_integer("processes", None, "How many there are, with --coordinator.", flag_values=values)
    flags.DEFINE_integer("process", None, "Which of them this is, from 0 on.", flag_values=values)
    flags.DEFINE_string("onto", "", "Bundle whose other models the exported one has too.", flag_values=values)
    flags.DEFINE_string(
        "profile", "", "COUNT or FIRST:COUNT steps of this call to trace into WORKDIR/profile.", flag_values=values
    )
    flags.DEFINE_string("compilation_cache", None, command.CACHE_HELP, flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 after the last step; that of a signal, 130 or 143, with a checkpoint; 2 with one line on stderr; 3
    for a lost process."""
    return experiment.run("train", __doc__, _flags(), _run, argv)


def _lines(prefix: str, value: Any) -> Iterator[str]:
    """A `section.field = value` for every leaf, in the order of the fields; values as a shell takes them.

    A model that the experiment does without is a comment: which fields it has is said by an experiment that has it.
    """
    if isinstance(value, Mapping):
        items = [(f"{prefix}.{name}" if prefix else name, item) for name, item in value.items()]
    elif isinstance(value, tuple) and any(isinstance(item, Mapping) for item in value):
        items = [(f"{prefix}[{place}]", item) for place, item in enumerate(value)]
    elif value is None:
        yield f"# {prefix}: none"
        return
    else:
        text = value if isinstance(value, str) else repr(value)
        plain = text if '"' in text else text.replace("'", '"')  # a shell quotes with the other ones
        yield f"{prefix} = {shlex.quote(plain)}"
        return
    for name, item in items:
        yield from _lines(name, item)


def _run(given: flags.FlagValues) -> int | None:
    if given.show and given.config is not None:
        from metis_jax.training.experiment import complete

        print(*_lines("", complete(given.config.to_dict())), sep="\n")
        return
    if given.config is None or given.workdir is None:
        raise ValueError("give --config=FILE and --workdir=DIR")
    by_hand = [given.coordinator, given.processes, given.process]
    if None in by_hand and by_hand != [None] * 3:
        raise ValueError("give --coordinator, --processes and --process together")
    if given.processes is not None and not 0 <= given.process < given.processes:
        raise ValueError(f"--process={given.process} of --processes={given.processes}; they are counted from 0")
    if not (given.distributed or given.coordinator):
        return _train(given)
    from metis_jax.cli import processes

    processes.join(*by_hand)
    processes.together(lambda: _train(given), experiment.REFUSALS)


def _train(given: flags.FlagValues) -> int:
    # Heavy imports wait until the command line is known to be sound.
    import jax

    from metis_jax.inference.programs import use_compilation_cache
    from metis_jax.training.experiment import read_config
    from metis_jax.training.export import export_bundle
    from metis_jax.training.loop import train
    from metis_jax.training.profile import Profile

    is_chief, status = jax.process_index() == 0, 0
    level = logging.INFO if is_chief else logging.WARNING
    with reports_of(level=level, line="%(asctime)s %(message)s", warnings_alone=_TALKATIVE):
        config = read_config(given.config.to_dict())
        use_compilation_cache(given.compilation_cache)
        workdir = pathlib.Path(given.workdir)
        profile = Profile.parse(given.profile, workdir) if given.profile else None
        if given.export:
            export_bundle(config, workdir, pathlib.Path(given.export), onto=given.onto)
            end = given.export
        else:
            with _folder(workdir, is_locked=is_chief):
                outcome = train(config, workdir, profile)
            cause = "done"
            if outcome.stopped_by:  # who waits for the run is not to take it for one that is done
                cause, status = f"stopped by {outcome.stopped_by}", 128 + signal.Signals[outcome.stopped_by]
            end = f"{cause} at step {outcome.step}; checkpoint saved in {workdir}"
    if is_chief:
        print(end)
    return status


@contextlib.contextmanager
def _folder(workdir: pathlib.Path, *, is_locked: bool) -> Iterator[None]:
    """A folder that one training has to itself."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        taken = f"{workdir}: another training runs in this folder; wait for its end, or use another --workdir"
        try:
            with lock(workdir / ".lock", taken) if is_locked else contextlib.nullcontext():
                yield
        finally:
            with contextlib.suppress(OSError):  # what was refused before it began leaves no empty folder
                workdir.rmdir()
    except OSError as error:
        # A full disk does not say where.
        error.filename = error.filename or str(workdir)
        raise


if __name__ == "__main__":
    sys.exit(main())

r"""Studies of the small model: what the paper claims and leaves open, at a size that a CPU can train.

    python -m nano.studies STUDY --workdir=DIR --chain=CHAIN [--measure=speech --sets=SETS] [--jobs=2] [--only=ARM.SEED]
    python -m nano.studies information --workdir=DIR --chain=CHAIN --measure=speech --shards=TOKEN_SHARDS
    python -m nano.studies report --workdir=DIR --output=docs/report.md
    python -m nano.studies STUDY --workdir=DIR --quicktest

CHAIN is a working folder of `nano/chain.py`.  The held-out loss of every training is always recorded; with
--measure=speech what the models say is decoded and measured too, on the sets of `nano/measure/sets.py`, of which
`robustness` needs --snrs=-5,0,5,10,15,20 --degraded.  The same command goes on where it stopped, `--jobs` commands at a
time; what has ended is in DIR/STUDY/results.jsonl.  A quick test trains tiny models on synthetic records for two steps.

This stands beside the small model and not in the package: studies are users of nano's experiments, which the package
neither imports nor carries.
"""

import argparse
import hashlib
import json
import pathlib
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence

from metis_jax.files.outputs import lock, write_text
from metis_jax.weights.bundle import Bundle
from nano.chain import Runner, StepFailed
from nano.studies import report, results, sounds
from nano.studies.plan import PRETRAINED
from nano.studies.plans import STUDIES
from nano.studies.work import GENERATOR, MEASURES, TRAININGS, Given, check, steps_of


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = "\n".join(f"  {name:12} {study.title}" for name, study in STUDIES.items())
    parser = argparse.ArgumentParser(
        prog="studies",
        description=f"{__doc__.partition(chr(10))[0]}\n\n{names}\n  report       tables of all of them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", choices=(*STUDIES, "report"), metavar="STUDY")
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--chain", type=pathlib.Path, help="a working folder of nano/chain.py")
    parser.add_argument("--quicktest", action="store_true", help="tiny models and synthetic records, without a chain")
    parser.add_argument("--measure", choices=MEASURES, default=MEASURES[0])
    parser.add_argument("--sets", type=pathlib.Path, help="a folder of nano/measure/sets.py")
    parser.add_argument("--shards", type=pathlib.Path, help="token shards of nano/measure/information.py")
    parser.add_argument("--recognizer", default="", help="a Whisper folder, as nano/measure/tasks.py takes it")
    parser.add_argument("--steps", type=int, help="of every training, in place of the study's")
    parser.add_argument("--jobs", type=int, default=1, help="commands side by side")
    parser.add_argument("--only", default="*", help="pattern of the names of runs, such as 'se-*.0'")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/report.md"), help="of the report")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0; 1 for a run that failed or was stopped; 2 for a command line that can not work."""
    flags = _flags(arguments)
    try:
        if flags.study == "report":
            done = report.write(STUDIES, flags.workdir, flags.output, _command(flags, "workdir", "output"))
            print(f"{flags.output}: {', '.join(done)}")
        else:
            _run(flags)
    except (ValueError, OSError) as error:
        print(f"studies: {error}", file=sys.stderr)
        return 2
    except StepFailed as error:
        print(f"studies: {error}", file=sys.stderr)
        return 1
    return 0


def _command(flags: argparse.Namespace, *names: str) -> str:
    """A command line that does the same, without what changes no result."""
    values = {name: getattr(flags, name) for name in names}
    given = [f"--{name}" if value is True else f"--{name}={value}" for name, value in values.items() if value]
    return shlex.join(["python", "-m", "nano.studies", flags.study, *given])


def _claim(path: pathlib.Path, fixed: Mapping[str, object], **about: object) -> None:
    """Writes what runs of a folder have in common; ValueError where runs that are there have another of it."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name, value in known.items():
        if fixed.get(name, value) != value:
            raise ValueError(f"{path.parent} was begun with {name} {value}; use that, or another --workdir")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(known | about | dict(fixed)) + "\n")


def _identities(bundle: pathlib.Path, components: Sequence[str]) -> dict[str, str]:
    """Which components a bundle has, wherever it lies."""
    return {name: Bundle(bundle).identity(name) for name in components}


def _model(bundle: pathlib.Path, components: Sequence[str]) -> dict[str, str]:
    """What speech depends on: components, and how the bundle wants them decoded."""
    decoding = json.dumps(Bundle(bundle).decoding, sort_keys=True)
    return _identities(bundle, components) | {"decoding": hashlib.sha256(decoding.encode()).hexdigest()[:16]}


def _run(flags: argparse.Namespace) -> None:
    study, workdir = STUDIES[flags.study], flags.workdir.resolve()
    if flags.quicktest == (flags.chain is not None):
        raise ValueError("give --chain=DIR, a working folder of nano/chain.py, or --quicktest")
    if flags.steps is not None and flags.steps < 1:
        raise ValueError(f"--steps={flags.steps}: use 1 or more")
    given = Given(
        study=flags.study,
        workdir=workdir,
        chain=flags.chain and flags.chain.resolve(),
        measure=flags.measure,
        sets=flags.sets and flags.sets.resolve(),
        shards=flags.shards and flags.shards.resolve(),
        recognizer=flags.recognizer,
        steps=flags.steps,
        only=flags.only,
    )
    check(study, given)
    steps = steps_of(study, given)
    given.folder.mkdir(parents=True, exist_ok=True)
    with lock(given.folder / ".lock", f"{given.folder}: this study is being run there already; wait for its end"):
        fixed = {"steps": given.steps_of(study)} if any(arm.config for arm in study.arms) else {}
        if fixed and flags.chain:
            fixed["pretrained"] = _identities(flags.chain / PRETRAINED / "bundle", [GENERATOR])[GENERATOR]
        if fixed:
            _claim(workdir / TRAININGS / report.ABOUT, fixed)
        if flags.chain and flags.measure == "speech":
            fixed["model"] = _model(flags.chain / "bundle", study.components)
        command = _command(flags, "workdir", "chain", "quicktest", "measure", "sets", "shards", "recognizer", "steps")
        _claim(given.folder / report.ABOUT, fixed, command=command)
        runner = Runner(workdir, max(1, flags.jobs))
        before = {number: signal.signal(number, runner.stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            runner.run_all(steps)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            found = results.collect(flags.study, study, workdir)
            sounds.collect(flags.study, study, workdir)
            print(f"{given.folder / results.FILE}: {len(found)} results", flush=True)


if __name__ == "__main__":
    sys.exit(main())

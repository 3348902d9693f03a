"""Preparing and tokenizing on many machines: the same jobs as on one, handed out by Apache Beam (extra `beam`).

Input, output and bundle lie where every worker finds them under one path.  What a job writes appears whole, so a job
that is done twice, as where a worker was lost, leaves what it left the first time; jobs that are done are left out when
the same command is given again.
"""

import functools
import importlib
import pathlib
import pickle
import shlex
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from metis_jax.data.extract import Extraction

INSTALL_COMMAND = 'pip install "metis_jax[beam]"'


class MissingBeamExtra(ImportError):
    """Apache Beam, which is an optional extra, is absent."""


class BeamError(ValueError):
    """Options that Beam does not take, or a pipeline that failed."""


def _beam() -> ModuleType:
    try:
        return importlib.import_module("apache_beam")
    except ModuleNotFoundError as error:
        raise MissingBeamExtra(f"Apache Beam is not installed: {INSTALL_COMMAND}") from error


def _pipeline(options: str) -> Any:
    """A pipeline with Beam's own options, as `--runner=FlinkRunner --flink_master=localhost:8081`."""
    beam = _beam()
    module = importlib.import_module("apache_beam.options.pipeline_options")
    words = shlex.split(options)
    if loose := [word for word in words if not word.startswith("--")]:
        raise BeamError(f"--beam={options!r}: {loose[0]!r} is no option; give them as --name=value")
    given = module.PipelineOptions(words)
    known = set(given.get_all_options())
    unknown = [word for word in given.get_all_options(retain_unknown_options=True) if word not in known]
    if unknown:
        raise BeamError(f"--beam={options!r}: Beam has no option {unknown[0]!r}")
    return beam.Pipeline(options=given)


def _run(options: str, build: Callable[[Any], None]) -> None:
    pipeline = _pipeline(options)
    build(pipeline)
    try:
        pipeline.run().wait_until_finish()
    except (ValueError, RuntimeError, OSError) as error:
        raise BeamError(f"--beam={options!r}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """Beam puts a worker's whole traceback in front of what it said last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if "Error: " in line]
    return (said or lines or [type(error).__name__])[-1]


class JobsOnBeam:
    """Stands for the processes of one machine in `prepare`.

    Jobs go through files in `folder`, for a runner takes little beside the pipeline itself.
    """

    def __init__(self, options: str, folder: pathlib.Path):
        self._options, self._folder = options, folder
        _pipeline(options)  # which names what is wrong with them before any work

    def __call__(self, jobs: Sequence[tuple], work: Callable[..., int], processes: int, label: str) -> None:
        """`work(*job)` for all jobs; BeamError names what the last one that failed said."""
        if not jobs:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        places = [self._folder / f"{label}-{number:06d}.pickle" for number in range(len(jobs))]
        for place, job in zip(places, jobs, strict=True):
            place.write_bytes(pickle.dumps((work, job)))
        beam = _beam()

        def build(pipeline: Any) -> None:
            pipeline | beam.Create([str(place) for place in places]) | beam.Reshuffle() | beam.Map(_do)

        _run(self._options, build)


def _do(place: str) -> int:
    work, job = pickle.loads(pathlib.Path(place).read_bytes())
    return work(*job)


def extract_on_beam(options: str, paths: Sequence[pathlib.Path], begin: Callable[[], Extraction]) -> int:
    """Writes the token shard of each path; their number.  Every worker begins once, with models and all.

    `begin` is found by its name, with arguments that can be pickled.
    """
    beam, beginning = _beam(), pickle.dumps(begin)

    def build(pipeline: Any) -> None:
        pipeline | beam.Create(list(map(str, paths))) | beam.Reshuffle() | beam.Map(_write, beginning)

    if paths:
        _run(options, build)
    return len(paths)


_ONE_AT_A_TIME = threading.Lock()  # of a worker's threads, which share its models


@functools.lru_cache(maxsize=1)
def _begun(beginning: bytes) -> Extraction:
    return pickle.loads(beginning)()


def _write(path: str, beginning: bytes) -> int:
    with _ONE_AT_A_TIME:
        return _begun(beginning).write(pathlib.Path(path))

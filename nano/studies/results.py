"""What was measured, one JSON object a line: what logs and tables of the runs that have ended say."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping

from metis_jax.files.outputs import write_text
from nano.measure.tasks import TABLES
from nano.studies.plan import BESIDE, Arm, Study
from nano.studies.work import runs, speech_name, training_name

FILE = "results.jsonl"
_TRAINED = re.compile(r"semantic_generator: (\d+) parameters are trained")
_DECODING = re.compile(r"\$ infer .*--list=\S*?([^/\s]+)\.jsonl")
_RTF = re.compile(r"\(RTF ([\d.]+)\)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One value.

    Attributes:
      seed: of the run; recordings that stand beside have none.
      task: what arms are compared in: a task for losses, a test set for speech.
      file: of the test set; empty for what is measured of the whole run.
      weight: what the value counts in a mean, as the words of a file for its error rate.
      step: of the training, for what is measured during it.
    """

    study: str
    arm: str
    seed: int | None
    task: str
    measure: str
    value: float
    file: str = ""
    weight: float = 1
    step: int = 0


def collect(name: str, study: Study, workdir: pathlib.Path) -> list[Result]:
    """Results of all runs of a study that have ended, written into the `FILE` of its folder too."""
    found: dict[tuple, Result] = {}
    for arm, seed in runs(study):
        for result in _of_run(name, arm, seed, workdir):
            # Recordings beside stand in the tables of every arm.
            key = dataclasses.replace(result, value=0.0, weight=1)
            found.setdefault(dataclasses.astuple(key), result)
    lines = (json.dumps(dataclasses.asdict(result)) for result in found.values())
    write_text(workdir / name / FILE, "".join(f"{line}\n" for line in lines))
    return list(found.values())


def read(folder: pathlib.Path) -> list[Result]:
    """The results in a study's folder; none where nothing has ended."""
    path = folder / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [Result(**json.loads(line)) for line in lines]


def _of_run(study: str, arm: Arm, seed: int, workdir: pathlib.Path) -> Iterator[Result]:
    about = {"study": study, "arm": arm.name, "seed": seed}
    training = workdir / training_name(study, arm, seed)
    if _beside(training, ".done").exists():
        lines = (training / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        for line in map(json.loads, lines):
            if line["split"] == "validation":
                yield Result(**about, task=arm.task, measure="loss", value=line["loss"], step=line["step"])
        if arm.learns and (trained := _TRAINED.findall(_beside(training, ".log").read_text(encoding="utf-8"))):
            yield Result(**about, task=arm.task, measure="trained", value=float(trained[-1]))
    speech = workdir / speech_name(study, arm, seed)
    if _beside(speech, ".done").exists():
        for task in arm.sets or (arm.task,):
            yield from _of_table(about, speech / TABLES / f"{task}.json")
        for task, factor in _factors(_beside(speech, ".log").read_text(encoding="utf-8").splitlines()):
            yield Result(**about, task=task, measure="rtf", value=factor)


def _beside(folder: pathlib.Path, ending: str) -> pathlib.Path:
    """A file of the step that made a folder."""
    return folder.with_name(folder.name + ending)


def _of_table(about: Mapping, path: pathlib.Path) -> Iterator[Result]:
    """Every value of a table of `evaluate.py`; recordings beside what was decoded are arms of their own."""
    for system, content in json.loads(path.read_text(encoding="utf-8"))["systems"].items():
        own = {**about, "arm": system, "seed": None} if system in BESIDE else about
        for file, values in content["files"].items():
            for measure, value in values.items():
                if value["value"] is not None:
                    numbers = {"value": value["value"], "weight": value["weight"]}
                    yield Result(**own, task=path.stem, measure=measure, file=file, **numbers)


def _factors(lines: Iterable[str]) -> Iterator[tuple[str, float]]:
    """(set, seconds of computing per second of audio) of what a log says was decoded."""
    task = ""
    for line in lines:
        if begun := _DECODING.search(line):
            task = begun[1]
        elif task and (factor := _RTF.search(line)):
            yield task, float(factor[1])
            task = ""

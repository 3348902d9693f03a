"""What was measured, one JSON object a line: what logs and tables of the runs that have ended say."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable, Iterator

from metis_jax.files.outputs import write_text
from nano.measure.tasks import TABLES
from nano.studies import work
from nano.studies.plan import Arm, Study
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
    """Results of all runs of a study that have ended, written into the `FILE` of its folder too.

    Of what stands beside, those of the sets that a run has decoded.
    """
    own = [result for arm, seed in runs(study) for result in _of_run(name, arm, seed, workdir)]
    decoded = {result.task for result in own if result.file}
    beside = _of_beside(name, study, workdir / name / work.BESIDE)
    found = [*(result for result in beside if result.task in decoded), *own]
    write_text(workdir / name / FILE, "".join(f"{_line(result)}\n" for result in found))
    return found


def _line(result: Result) -> str:
    """As JSON, without what is as by default: there are many lines, and they are kept."""
    plain = {field.name: field.default for field in dataclasses.fields(Result)}
    values = {name: value for name, value in dataclasses.asdict(result).items() if value != plain[name]}
    return json.dumps(values, separators=(",", ":"))


def read(folder: pathlib.Path) -> list[Result]:
    """The results in a study's folder; none where nothing has ended."""
    path = folder / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [Result(**json.loads(line)) for line in lines]


def _of_beside(name: str, study: Study, folder: pathlib.Path) -> Iterator[Result]:
    """Of the recordings that stand beside what was decoded: arms that have no seed."""
    if _beside(folder, ".done").exists():
        for path in (folder / TABLES / f"{task}.json" for task in work.sets_of(study)):
            for system, rows in _of_table(path) if path.exists() else ():  # beside some sets nothing stands
                yield from (Result(study=name, arm=system, seed=None, **row) for row in rows)


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
            for _, rows in _of_table(speech / TABLES / f"{task}.json"):
                yield from (Result(**about, **row) for row in rows)
        for task, factor in _factors(_beside(speech, ".log").read_text(encoding="utf-8").splitlines()):
            yield Result(**about, task=task, measure="rtf", value=factor)


def _beside(folder: pathlib.Path, ending: str) -> pathlib.Path:
    """A file of the step that made a folder."""
    return folder.with_name(folder.name + ending)


def _of_table(path: pathlib.Path) -> Iterator[tuple[str, list[dict]]]:
    """Every system of a table of `evaluate.py`, with all of its values."""
    for system, content in json.loads(path.read_text(encoding="utf-8"))["systems"].items():
        rows = [
            dict(task=path.stem, measure=measure, file=file, value=value["value"], weight=value["weight"])
            for file, values in content["files"].items()
            for measure, value in values.items()
            if value["value"] is not None
        ]
        yield system, rows


def _factors(lines: Iterable[str]) -> Iterator[tuple[str, float]]:
    """(set, seconds of computing per second of audio) of what a log says was decoded."""
    task = ""
    for line in lines:
        if begun := _DECODING.search(line):
            task = begun[1]
        elif task and (factor := _RTF.search(line)):
            yield task, float(factor[1])
            task = ""

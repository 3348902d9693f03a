"""Sounds to listen to: of a set that a study names, one recording as every arm says it, as Opus."""

import pathlib
from collections.abc import Iterator

import soundfile

from metis_jax.audio.files import read_wave
from metis_jax.evaluation.pairing import find_audio
from metis_jax.files.outputs import new_file
from nano.studies.plan import Arm, Study
from nano.studies.work import RESYNTHESIS, speech_name

FOLDER = "sounds"  # beside a study's results
_LEAST_SECONDS = 2.0


def collect(name: str, study: Study, workdir: pathlib.Path) -> None:
    """Writes the sounds of the runs of the first seed that have ended into the `FOLDER` of the study."""
    for task in study.heard:
        chosen = ""
        for arm in study.arms:
            speech = workdir / speech_name(name, arm, study.seeds[0])
            if not speech.with_name(f"{speech.name}.done").exists():
                continue
            outputs = workdir / name / RESYNTHESIS / arm.tokens if arm.tokens else speech / task
            chosen = chosen or _shortest(outputs)
            place = workdir / name / FOLDER / _file(arm, task)
            place.parent.mkdir(exist_ok=True)
            wave = read_wave(outputs / chosen)
            with new_file(place) as partial:
                soundfile.write(partial, wave.samples, wave.rate, format="OGG", subtype="OPUS")


def found(study: Study, folder: pathlib.Path) -> Iterator[tuple[str, list[tuple[str, pathlib.Path]]]]:
    """(set, (name of the arm, file) of those that were collected), for every set with any."""
    for task in study.heard:
        files = [(arm.name, folder / FOLDER / _file(arm, task)) for arm in study.arms]
        if there := [(arm, file) for arm, file in files if file.is_file()]:
            yield task, there


def _file(arm: Arm, task: str) -> str:
    return f"{task}.{arm.key}.ogg"


def _shortest(folder: pathlib.Path) -> str:
    """The file of that name is long enough to hear something, and no longer than it takes."""
    seconds = {file.name: soundfile.info(file).duration for file in find_audio(folder, "outputs").paths}
    long_enough = {name: length for name, length in seconds.items() if length >= _LEAST_SECONDS}
    return min(long_enough or seconds, key=seconds.get)

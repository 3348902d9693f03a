"""What `infer.py` is asked to do: one job from flags, or many from the lines of a list, checked before computing."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metis_jax.audio import files
from metis_jax.audio.waves import AudioError
from metis_jax.files.folders import files_under
from metis_jax.files.inputs import parse_json
from metis_jax.files.text_files import read_entries
from metis_jax.inference.lips import is_video
from metis_jax.inference.script import Script
from metis_jax.video.sound import check_output as check_output_video

_SCRIPT = {field.name: type(field.default) for field in dataclasses.fields(Script)} | {"seconds": float}
# What all texts of a list may share is said by flags, beside the list.
SHARED = ("language", "prompt_language", "speed", "length", "split")


@dataclasses.dataclass(frozen=True)
class Keys:
    """Keys that a job has, of which the first can be said without a flag, and those it may have."""

    needs: tuple[str, ...]
    may_have: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.needs, *self.may_have)


_WORDS = ("text", "phones", "language", "prompt_text", "prompt_phones", "prompt_language")
KEYS_OF = {
    "se": Keys(("source", "output")),
    "tse": Keys(("source", "output", "prompt"), _WORDS),
    "vc": Keys(("source", "output", "prompt")),
    "tts": Keys(("output", "prompt"), tuple(_SCRIPT)),
    "l2s": Keys(("features", "output"), ("prompt", "video", "face", "output_video")),
}
INPUTS = ("source", "prompt", "features", "video")
KEYS = tuple(dict.fromkeys(key for keys in KEYS_OF.values() for key in keys.all))


@dataclasses.dataclass(frozen=True)
class Request:
    """One output, and what it is made of: a recording, whose words a script may say, a text or lips."""

    output: str
    prompt: str | None = None
    source: str | None = None
    script: Script | None = None
    features: str | None = None
    video: str | None = None
    face: int = 1
    output_video: str | None = None

    @property
    def inputs(self) -> list[str]:
        """The files that it reads."""
        return [place for key in INPUTS if (place := getattr(self, key))]


def beside(path: str, task: str) -> str:
    """Where a task writes what it makes of a file unless told: noisy.flac gives noisy.se.wav."""
    return str(Path(path).with_suffix(f".{task}.wav"))


def outputs_of(places: Sequence[str], task: str, output: str | None) -> dict[str, str]:
    """{file: output} of files, and of those in folders, for a task that makes one of the other.

    Outputs are beside the files, or in the folder `output`; those of a folder are in one of the same structure, beside
    it unless `output` is given.
    """
    found: dict[str, str] = {}
    for place in map(Path, places):
        if not place.is_dir():
            found[str(place)] = str(Path(output, f"{place.stem}.wav")) if output else beside(str(place), task)
            continue
        suffixes = (".npy",) if KEYS_OF[task].needs[0] == "features" else files.SUFFIXES
        inside = [path for path in files_under(place) if path.suffix.lower() in suffixes]
        if not inside:
            raise ValueError(f"{place}: has no files of {', '.join(suffixes)}")
        folder = place if place.name.strip(".") else Path(os.path.realpath(place))  # . and .. are no names
        root = Path(output) if output else folder.with_name(f"{folder.name}.{task}")
        if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(place)):
            raise ValueError(f"{root}: lies in the folder that is read, {place}; name another output")
        found |= {str(path): str(root / path.relative_to(place).with_suffix(".wav")) for path in inside}
    return found


def read_list(path: str) -> list[str]:
    """The lines of a list."""
    lines = read_entries(path)
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path}: has no jobs")
    return lines


def parse_request(line: str, task: str, shared: Mapping[str, Any]) -> Request:
    """The job in a line of a list."""
    entry = parse_json(line, "the job")
    if not isinstance(entry, dict):
        raise ValueError(f"a job is a JSON object, not {type(entry).__name__}")
    if "seconds" in entry:
        shared = {key: value for key, value in shared.items() if key not in ("speed", "length")}
    return make_request({**shared, **entry}, task)


def make_request(entry: Mapping[str, Any], task: str, named: Callable[[str], str] = "the key {!r}".format) -> Request:
    """The job, if what it names looks usable: everything that can be known before any computing.

    Args:
      entry: values by key; None stands for absent.
      named: how the user writes a key.
    """
    entry = {key: float(value) if type(value) is int else value for key, value in entry.items() if value is not None}
    needs, allowed = KEYS_OF[task].needs, KEYS_OF[task].all
    if task == "l2s" and "video" in entry:
        if "features" in entry:
            raise ValueError(f"{named('features')} and {named('video')} are given; give one")
        needs = ("video", "output")
    for key in needs:
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise ValueError(f"task {task} needs {named(key)}")
    for key, value in entry.items():
        if key not in KEYS:
            raise ValueError(f"unknown key {key!r}; a job of task {task} has {', '.join(allowed)}")
        if key not in allowed:
            raise ValueError(f"task {task} takes no {key}")
        wanted = {"face": float, **_SCRIPT}.get(key, str)
        if not isinstance(value, wanted):
            raise ValueError(f"{key} is {value!r}; expected {wanted.__name__}")
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"{key} has a zero byte")
    if task == "tts" and not (entry.get("text") or entry.get("phones")):
        raise ValueError(f"task tts needs {named('text')}" if "text" not in entry else "text is empty")
    files.check_output(entry["output"])
    if "face" in entry:
        entry["face"] = _face(entry, named)
    if "output_video" in entry:
        _check_output_video(entry, named)
    for key in INPUTS:
        if key in entry and os.path.realpath(entry[key]) == os.path.realpath(entry["output"]):
            raise ValueError(f"{entry['output']}: is the {key} too; name another output")
    if "source" in entry and files.seconds(entry["source"]) < files.MINIMUM_SECONDS:
        found = files.seconds(entry["source"])
        raise AudioError(f"{entry['source']}: {found:.3f} s of audio; at least {files.MINIMUM_SECONDS} s are needed")
    said = {key: entry[key] for key in _SCRIPT if key in entry}
    has_text = said.get("text") or said.get("phones")
    for key in ("prompt_text", "prompt_phones"):
        if key in said and not has_text:
            raise ValueError(f"{key} is given without a text; give {named('text')} too")
    script = Script(**said) if has_text else None
    return Request(script=script, **{key: value for key, value in entry.items() if key not in _SCRIPT})


def _face(entry: Mapping[str, Any], named: Callable[[str], str]) -> int:
    if "video" not in entry or not is_video(entry["video"]):
        raise ValueError(f"{named('face')} needs {named('video')}, a video with faces")
    if entry["face"] < 1 or entry["face"] % 1:
        raise ValueError(f"face is {entry['face']:g}; faces are counted from 1, the most prominent")
    return int(entry["face"])


def _check_output_video(entry: Mapping[str, Any], named: Callable[[str], str]) -> None:
    check_output_video(entry["output_video"])
    if "video" not in entry or not is_video(entry["video"]):
        raise ValueError(f"{named('output_video')} needs {named('video')}, a video to copy")
    for key in ("output", *INPUTS):
        if key in entry and os.path.realpath(entry[key]) == os.path.realpath(entry["output_video"]):
            raise ValueError(f"{entry['output_video']}: is the {key} too; name another")

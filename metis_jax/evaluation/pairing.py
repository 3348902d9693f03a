"""Which output goes with which reference, prompt, source, interferer and text.

A place is a folder, an audio file, or a list: a text file with one path per line, taken from the list's own folder.

* Two lists (or single files) pair by position and must be equally long.
* With a folder on either side files pair by name: the path inside the folder without its suffix, and for a list the
  file's name without its suffix.  Every output needs its partner; partners without an output are left over.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from metis_jax.audio.files import SUFFIXES
from metis_jax.evaluation.errors import EvaluationError
from metis_jax.files.folders import files_under
from metis_jax.files.inputs import InputError, parse_json
from metis_jax.files.text_files import read_lines

_NAME_FIELDS = ("output", "path", "audio", "utt_id", "id")
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Place:
    """The audio files that a flag names; `names` are what they pair by."""

    flag: str
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    is_folder: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One output and what it is measured against; what is absent is None."""

    name: str
    output: Path
    reference: Path | None = None
    prompt: Path | None = None
    source: Path | None = None
    interferer: Path | None = None
    text: str | None = None


def find_audio(location: str | os.PathLike, flag: str) -> Place:
    """The files at a folder, a list or a single audio file, with their names; never none."""
    path = Path(location)
    if path.is_dir():
        found = [p for p in files_under(path) if p.suffix.lower() in SUFFIXES and p.is_file()]
        if not found:
            raise EvaluationError(f"{flag}={location}: no audio there ({', '.join(SUFFIXES)})")
        names = [p.relative_to(path).with_suffix("").as_posix() for p in found]
        return Place(flag, tuple(found), _distinct(names, flag, location), True)
    if not path.is_file():
        raise EvaluationError(f"{flag}={location}: no such folder or file")
    if path.suffix.lower() in SUFFIXES:
        return Place(flag, (path,), (path.stem,), False)
    try:
        lines = [line.strip() for line in read_lines(path)]
    except InputError as error:
        raise EvaluationError(f"{flag}={location}: is neither audio nor a list of paths; {error}") from None
    listed = [path.parent / line for line in lines if line]
    if not listed:
        raise EvaluationError(f"{flag}={location}: the list is empty")
    absent = [p for p in listed if not p.is_file()]
    if absent:
        raise EvaluationError(f"{flag}={location}: {len(absent)} of {len(listed)} do not exist: {some(absent)}")
    return Place(flag, tuple(listed), tuple(p.stem for p in listed), False)


def _distinct(names: Sequence[str], flag: str, location: object) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise EvaluationError(f"{flag}={location}: two files share a name: {some(repeated)}")
    return tuple(names)


def some(items: Sequence[object]) -> str:
    """The first few of what a message is about."""
    shown = ", ".join(str(item) for item in items[:_SHOWN])
    return shown + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")


def pair(outputs: Place, partners: Place) -> list[Path]:
    """The partner of every output."""
    if not outputs.is_folder and not partners.is_folder:
        if len(outputs.paths) != len(partners.paths):
            raise EvaluationError(
                f"{outputs.flag} lists {len(outputs.paths)} files and {partners.flag} {len(partners.paths)}; "
                "lists pair line by line"
            )
        return list(partners.paths)
    # A list knows no folder that names could be relative to.
    both_folders = outputs.is_folder and partners.is_folder
    names = [outputs.names, partners.names]
    if not both_folders:
        names = [_distinct([Path(n).name for n in side.names], side.flag, "…") for side in (outputs, partners)]
    by_name = dict(zip(names[1], partners.paths, strict=True))
    lonely = [name for name in names[0] if name not in by_name]
    if lonely:
        raise EvaluationError(
            f"{len(lonely)} of {len(outputs.paths)} files of {outputs.flag} have no file of the same name "
            f"in {partners.flag}: {some(lonely)}"
        )
    return [by_name[name] for name in names[0]]


def read_texts(manifest: str | os.PathLike) -> dict[str, str]:
    """Texts by path or id, from the JSON lines of a manifest: `text` and one of output, path, audio, utt_id or id."""
    texts = {}
    for number, line in enumerate(read_lines(manifest), start=1):
        if not line.strip():
            continue
        try:
            fields = parse_json(line, f"--texts={manifest}: line {number}")
        except InputError as error:
            raise EvaluationError(str(error)) from None
        names = [fields[key] for key in _NAME_FIELDS if fields.get(key)] if isinstance(fields, dict) else []
        if not names:
            raise EvaluationError(f"--texts={manifest}: line {number} has none of {', '.join(_NAME_FIELDS)}")
        if not _parts(str(names[0])):
            raise EvaluationError(f"--texts={manifest}: line {number} names {names[0]!r}, which is no file")
        if fields.get("text"):
            texts[str(names[0])] = str(fields["text"])
    if not texts:
        raise EvaluationError(f"--texts={manifest}: no line has a text")
    return texts


class Texts:
    """Finds the text of a file by the end of its path: as many trailing folders as it takes to tell files apart."""

    def __init__(self, texts: Mapping[str, str]):
        self._by_stem: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for name, text in texts.items():
            parts = _parts(name)
            self._by_stem.setdefault(parts[-1], []).append((parts, text))

    def find(self, paths: Iterable[Path]) -> str | None:
        """The text of the first path that the manifest knows."""
        for path in paths:
            parts = _parts(path)
            known = [(_common_end(parts, other), text) for other, text in self._by_stem.get(parts[-1], [])]
            best = max((depth for depth, _ in known), default=0)
            found = {text for depth, text in known if depth == best}
            if len(found) > 1:
                raise EvaluationError(
                    f"--texts: {len(found)} different texts fit {path}; give longer paths in the manifest"
                )
            if found:
                return found.pop()
        return None


def _parts(name: str | os.PathLike) -> tuple[str, ...]:
    path = Path(name)
    return (path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).parts


def _common_end(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    depth = 0
    while depth < min(len(a), len(b)) and a[-1 - depth] == b[-1 - depth]:
        depth += 1
    return depth


def make_examples(outputs: Place, partners: Mapping[str, Place], texts: Mapping[str, str] | None) -> list[Example]:
    """One example per output; `partners` maps reference, prompt, source and interferer to their places."""
    columns = {role: pair(outputs, place) for role, place in partners.items()}
    finder = Texts(texts) if texts is not None else None
    examples = []
    for i, (name, output) in enumerate(zip(outputs.names, outputs.paths, strict=True)):
        chosen = {role: column[i] for role, column in columns.items()}
        known = [path for path in (output, chosen.get("reference")) if path is not None]
        examples.append(Example(name=name, output=output, text=finder.find(known) if finder else None, **chosen))
    return examples

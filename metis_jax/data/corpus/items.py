"""Where recordings come from: a manifest, a plain folder, or a corpus in its published layout, all as the same items.

A manifest is JSON lines.  `path` is required (relative to the manifest); `id`, `kind`, `speaker`, `text`, `language`,
`license`, `source`, `heldout`, `condition`, `sample_rate`, `seconds`, `video` (a face that says it; for a line whose
`kind` is "video" its path), `audio` (the sound of a video, where it is a file of its own), `source_audio`, `phones`,
`durations`, `silence` and `visual_features` (see `precomputed.py`) are read where they are there; others are ignored.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from metis_jax.audio.files import SUFFIXES
from metis_jax.data.corpus.records import RECORD_KINDS
from metis_jax.faults import in_one_line
from metis_jax.files.folders import files_under
from metis_jax.files.inputs import InputError, parse_json, read_json
from metis_jax.files.text_files import read_entries, read_text

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".m4v", ".avi", ".mpg", ".mpeg", ".webm", ".3gp", ".ts")
# Sound that libsndfile does not read, and that the extra `video` does; a recording of the same name stands for either.
_FOREIGN = (".wma", ".amr", ".webm", ".mka", ".ape")
_BY_EXTRA = (".m4a", ".aac")


class ManifestError(ValueError):
    """An input whose list of recordings can not be used; names the file and line."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One recording to prepare.

    `sample_rate` and `seconds` are what the list claims (0: nothing), to be checked, as are `phones`, their `durations`
    behind `silence` in seconds, and what lies at `features_path`: arrays for which no front end is needed.
    `video_path` is the video of a face that says it, whose sound stands for the recording where both are one file.
    `fault` is what keeps the recording from being taken, where its line or what lies beside it can not be read.
    """

    id: str
    path: str
    kind: str = "speech"
    speaker: str = ""
    text: str = ""
    language: str = ""
    license: str = ""
    source: str = ""
    held_out: bool = False
    condition: str = ""
    source_path: str = ""
    phones: tuple[Any, ...] = ()
    durations: tuple[Any, ...] = ()
    silence: float = 0.0
    features_path: str = ""
    video_path: str = dataclasses.field(default="", repr=False)  # an item without one is what it was before
    sample_rate: int = 0
    seconds: float = 0.0
    fault: str = dataclasses.field(default="", repr=False)  # the rest identifies it


def _field(row: Mapping, name: str, kind: type, where: str):
    """An optional field of a row; null counts as absent."""
    value = row.get(name)
    if value is None:
        return kind()
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ManifestError(f"{where}: field {name!r} is {value!r}; expected {kind.__name__}")
    return value


def from_manifest(path: pathlib.Path) -> Iterator[Item]:
    for number, line in enumerate(read_entries(path), start=1):
        if not line.strip():
            continue
        try:
            yield _from_line(line, path.parent, f"{path} line {number}")
        except (ManifestError, InputError) as error:
            yield Item(id=f"{path.name} line {number}", path="", fault=in_one_line(error))


def _from_line(line: str, folder: pathlib.Path, where: str) -> Item:
    row = parse_json(line, where)
    if not isinstance(row, dict):
        raise ManifestError(f"{where}: a {type(row).__name__}; expected an object")
    name = _field(row, "path", str, where)
    if not name:
        raise ManifestError(f"{where}: field 'path' is missing")
    kind = _field(row, "kind", str, where) or "speech"
    if kind not in RECORD_KINDS:
        raise ManifestError(f"{where}: field 'kind' is {kind!r}; use one of {', '.join(RECORD_KINDS)}")
    audio = _field(row, "audio", str, where)
    source_audio = _field(row, "source_audio", str, where)
    features = _field(row, "visual_features", str, where)
    video = _field(row, "video", str, where) or (name if kind == "video" else "")
    phones, durations = row.get("phones") or (), row.get("durations") or ()
    return Item(
        id=_field(row, "id", str, where) or os.path.splitext(name)[0],
        path=str(folder / (audio or name)),
        kind=kind,
        speaker=_field(row, "speaker", str, where),
        text=_field(row, "text", str, where),
        language=_field(row, "language", str, where),
        license=_field(row, "license", str, where),
        source=_field(row, "source", str, where),
        held_out=_field(row, "heldout", bool, where),
        condition=_field(row, "condition", str, where),
        source_path=str(folder / source_audio) if source_audio else "",
        phones=tuple(phones) if isinstance(phones, list | tuple) else (phones,),
        durations=tuple(durations) if isinstance(durations, list | tuple) else (durations,),
        silence=_field(row, "silence", float, where),
        features_path=str(folder / features) if features else "",
        video_path=str(folder / video) if video else "",
        # The list describes the video, not its sound, where both are named.
        sample_rate=0 if audio else _field(row, "sample_rate", int, where),
        seconds=_field(row, "audio_seconds" if audio else "seconds", float, where),
    )


def _from_files(
    layout: Callable[[pathlib.Path, pathlib.Path], Item | None], folder: pathlib.Path, *, videos: bool
) -> Iterator[Item]:
    """The items of the audio files in a folder; those of kinds that are not read have a fault, as others may.

    With `videos` those of video files too, whose sound a recording of the same name is.
    """
    paths = [path for path in files_under(folder) if path.suffix.lower() in (*SUFFIXES, *_FOREIGN, *VIDEO_SUFFIXES)]
    heard = sorted((path for path in paths if path.suffix.lower() in SUFFIXES), key=_is_second_choice, reverse=True)
    read = {path.with_suffix(""): path for path in heard}
    filmed = {path.with_suffix(""): path for path in paths if videos and path.suffix.lower() in VIDEO_SUFFIXES}
    for path in paths:
        stem, suffix = path.with_suffix(""), path.suffix.lower()
        if stem in filmed:
            if path != filmed[stem]:
                continue
            path = read.get(stem, path)
        elif _is_second_choice(path) and read.get(stem, path) != path:
            continue
        elif suffix in _FOREIGN:
            fault = f"{path.suffix} is not read; convert it to .wav or .flac"
            yield Item(id=_identity(folder, path), path=str(path), fault=fault)
            continue
        elif suffix in VIDEO_SUFFIXES:
            continue
        if path.is_symlink() and not path.exists():
            yield Item(id=_identity(folder, path), path=str(path), fault="is a link to nothing")
            continue
        try:
            item = layout(folder, path)
        except (ManifestError, InputError) as error:
            item = Item(id=_identity(folder, path), path=str(path), fault=in_one_line(error))
        if item is not None and stem in filmed:
            item = dataclasses.replace(item, kind="video", video_path=str(filmed[stem]))
        if item is not None:
            yield item


def _is_second_choice(path: pathlib.Path) -> bool:
    return path.suffix.lower() in (*_FOREIGN, *_BY_EXTRA)


def _identity(folder: pathlib.Path, path: pathlib.Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _text_at(path: pathlib.Path) -> str:
    return " ".join(read_text(path).split())


def _text_beside(path: pathlib.Path, *suffixes: str) -> str:
    for suffix in suffixes:
        beside = path.with_name(path.stem + suffix)
        if beside.is_file():
            return _text_at(beside)
    return ""


def from_folder(folder: pathlib.Path, path: pathlib.Path) -> Item:
    """Any audio files.  The innermost folder is taken for the speaker; `x.txt` beside `x.wav` is its text."""
    return Item(
        id=_identity(folder, path),
        path=str(path),
        speaker=path.parent.name if path.parent != folder else "",
        text=_text_beside(path, ".normalized.txt", ".txt"),
    )


def from_libritts(folder: pathlib.Path, path: pathlib.Path) -> Item:
    """LibriTTS and LibriTTS-R: <subset>/<speaker>/<chapter>/<utterance>.wav with .normalized.txt."""
    return Item(
        id=_identity(folder, path),
        path=str(path),
        speaker=f"libritts_{path.parent.parent.name}",
        text=_text_beside(path, ".normalized.txt", ".original.txt"),
        language="en",
        license="CC BY 4.0",
        source="LibriTTS",
        held_out=path.parent.parent.parent.name.startswith(("dev", "test")),
    )


def from_vctk(folder: pathlib.Path, path: pathlib.Path) -> Item | None:
    """VCTK 0.92 (wav48_silence_trimmed, first microphone) or 0.80 (wav48), text under txt/<speaker>/."""
    if path.stem.endswith("_mic2"):
        return None
    speaker = path.parent.name
    text = folder / "txt" / speaker / f"{path.stem.removesuffix('_mic1')}.txt"
    return Item(
        id=_identity(folder, path),
        path=str(path),
        speaker=f"vctk_{speaker}",
        text=_text_at(text) if text.is_file() else "",
        language="en",
        license="CC BY 4.0",
        source="VCTK",
    )


def from_emilia(folder: pathlib.Path, path: pathlib.Path) -> Item:
    """An Emilia-style folder: beside every recording a JSON object with text, speaker and language."""
    beside = path.with_suffix(".json")
    row = read_json(beside) if beside.is_file() else {}
    where = str(beside)
    if not isinstance(row, dict):
        raise ManifestError(f"{where}: a {type(row).__name__}; expected an object")
    return Item(
        id=_identity(folder, path),
        path=str(path),
        speaker=_field(row, "speaker", str, where),
        text=_field(row, "text", str, where).strip(),
        language=_field(row, "language", str, where),
        license=_field(row, "license", str, where) or "CC BY-NC 4.0",
        source="Emilia",
    )


def from_noise(folder: pathlib.Path, path: pathlib.Path) -> Item:
    """Noise and room responses; a folder on the way whose name starts with rir, room or impulse holds responses."""
    names = [part.lower() for part in path.relative_to(folder).parts[:-1]]
    is_room = any(name.startswith(("rir", "room", "impulse")) for name in names)
    return Item(id=_identity(folder, path), path=str(path), kind="rir" if is_room else "noise", source=folder.name)


LAYOUTS: dict[str, Callable[[pathlib.Path, pathlib.Path], Item | None]] = {
    "folder": from_folder,
    "libritts": from_libritts,
    "vctk": from_vctk,
    "emilia": from_emilia,
    "noise": from_noise,
}


def _with_printable_id(item: Item) -> Item:
    """The item; one whose name is not UTF-8 has a fault, for no list can hold it."""
    id = item.id.encode("utf-8", "backslashreplace").decode()
    return item if id == item.id else dataclasses.replace(item, id=id, fault="its name is not UTF-8; rename it")


def list_items(source: str | os.PathLike, layout: str = "", *, videos: bool = False) -> list[Item]:
    """The items of a manifest file or of a folder in some layout ("folder" unless said), checked for repeated ids.

    With `videos` a folder's video files are items too; a manifest names them itself.
    """
    path = pathlib.Path(source)
    if layout and layout not in LAYOUTS:
        raise ManifestError(f"layout is {layout!r}; use one of {', '.join(LAYOUTS)}")
    if path.is_dir():
        items = list(_from_files(LAYOUTS[layout or "folder"], path, videos=videos))
    elif path.is_file():
        items = list(from_manifest(path))
    else:
        raise ManifestError(f"{path}: no such file or folder")
    if not items:
        raise ManifestError(f"{path}: {'no audio files' if path.is_dir() else 'empty manifest'}")
    items = [_with_printable_id(item) for item in items]
    if all(item.fault for item in items):
        where = f"{items[0].path}: " if items[0].path else ""
        more = f" (and {len(items) - 1} more that can not be taken)" if len(items) > 1 else ""
        raise ManifestError(f"{where}{items[0].fault}{more}")
    seen: dict[str, str] = {}
    for item in items:
        if item.id in seen:
            raise ManifestError(f"{path}: id {item.id!r} names both {seen[item.id]} and {item.path}")
        seen[item.id] = item.path
    return items

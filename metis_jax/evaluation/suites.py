"""Published test sets: their lists to jobs for `metis-infer --list` and to examples for the table.

One reader for each, from a folder to items.  A reader relies on what its docstring says and refuses by name what looks
otherwise.  Published figures are those of the Metis paper (arXiv 2502.03128), with other recognisers and speaker
encoders than the packaged ones.
"""

import csv
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from metis_jax.audio.files import SUFFIXES
from metis_jax.evaluation.errors import EvaluationError
from metis_jax.evaluation.pairing import Example, Place, some
from metis_jax.files.folders import files_under
from metis_jax.files.inputs import InputError
from metis_jax.files.outputs import write_text
from metis_jax.files.text_files import read_lines, read_text

_ROLES = ("reference", "prompt", "source", "interferer")
_MIXTURE_COLUMNS = ("mixture_ID", "mixture_path", "source_1_path", "source_2_path")
_NOISY = re.compile(r"(?!clean_|noise_).+_fileid_(\d+)\.wav")
_VCTK_SENTENCES = 2  # of each speaker


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One output to make.

    Attributes:
      name: of the output, below its folder and without suffix.
      job: what a line of `metis-infer --list` says besides the output.
      reference, prompt, source, interferer, text: what the output is measured against, as in `pairing.Example`.
    """

    name: str
    job: Mapping[str, str]
    reference: Path | None = None
    prompt: Path | None = None
    source: Path | None = None
    interferer: Path | None = None
    text: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """A test set.

    Attributes:
      task: of `metis-infer`.
      read: the items in a folder.
      measures: keys of the rows that are published, or that a user looks for beside them.
      published: the paper's figures by key.
      notes: what to know when the two are compared.
      is_pooled: how its error rates are averaged.
    """

    task: str
    read: Callable[[Path], list[Item]]
    measures: tuple[str, ...]
    published: Mapping[str, str]
    notes: tuple[str, ...]
    is_pooled: bool = True


def read_suite(name: str, location: str | os.PathLike) -> list[Item]:
    """The items of a suite at `--suite_path`; EvaluationError where it is not laid out as its reader expects."""
    where = f"--suite_path={location}"
    if not Path(location).exists():
        raise EvaluationError(f"{where}: no such folder or file")
    try:
        items = SUITES[name].read(Path(location))
    except (InputError, csv.Error) as error:
        raise EvaluationError(f"{where}: {error}") from None
    if not items:
        raise EvaluationError(f"{where}: has no items of {name}; {_expected(name)}")
    names = [item.name for item in items]
    if repeated := sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []:
        raise EvaluationError(f"{where}: two items share a name: {some(repeated)}")
    # An output is written where its name says.
    if strange := [name for name in names if Path(name).is_absolute() or {"", "..", "."} & set(name.split("/"))]:
        raise EvaluationError(f"{where}: {some(strange)}: is no name of a file")
    partners = {path: None for item in items for role in _ROLES if (path := getattr(item, role))}
    if absent := [path for path in partners if not path.is_file()]:
        raise EvaluationError(f"{where}: {len(absent)} of {len(partners)} files do not exist: {some(absent)}")
    return items


def _expected(name: str) -> str:
    return " ".join((SUITES[name].read.__doc__ or "").split("\n\n")[0].split())


def write_jobs(path: str | os.PathLike, items: Sequence[Item], *, language: str | None) -> Path:
    """Write the list of jobs and make the folder of their outputs: JOBS for JOBS.jsonl, which is returned.

    Args:
      language: of all texts, where the task says any.
    """
    path = Path(path)
    if path.suffix != ".jsonl":
        raise EvaluationError(f"--jobs={path}: name a file FOLDER.jsonl; outputs then go to FOLDER")
    outputs = path.with_suffix("")
    shared = {"language": language} if language else {}
    lines = []
    for item in items:
        output = outputs / f"{item.name}.wav"
        output.parent.mkdir(parents=True, exist_ok=True)
        job = {**item.job, **shared, "output": os.path.abspath(output)}
        lines.append(json.dumps(job, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))
    return outputs


def examples_of(items: Sequence[Item], outputs: Place) -> list[Example]:
    """One example for every item that has an output; an output that the suite does not name is refused."""
    places = dict(zip(outputs.names, outputs.paths, strict=True))
    if strange := sorted(set(places) - {item.name for item in items}):
        raise EvaluationError(
            f"{len(strange)} of {len(places)} files of {outputs.flag} are none of the suite's: {some(strange)}"
        )
    return [
        Example(
            name=item.name,
            output=places[item.name],
            text=item.text,
            **{role: getattr(item, role) for role in _ROLES},
        )
        for item in items
        if item.name in places
    ]


def _only(path: Path, pattern: str) -> Path:
    """A list itself, or the only one of a folder."""
    if path.is_file():
        return path
    found = sorted(path.glob(pattern))
    if len(found) != 1:
        said = f"{len(found)} files {pattern} ({some(found)})" if found else f"no file {pattern}"
        raise EvaluationError(f"--suite_path={path}: {said}; name the list itself")
    return found[0]


def _seedtts(path: Path) -> list[Item]:
    """SeedTTS-eval: one .lst file of lines utt|prompt_text|prompt_wav|text, waves taken from the list's folder."""
    place = _only(path, "*.lst")
    items = []
    for number, line in enumerate(read_lines(place), start=1):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 4 or not all(fields):
            raise EvaluationError(f"{place}: line {number} is {line!r}; expected utt|prompt_text|prompt_wav|text")
        name, prompt_text, wave, text = fields
        prompt = place.parent / wave
        job = {"text": text, "prompt": os.path.abspath(prompt), "prompt_text": prompt_text}
        items.append(Item(name=name, job=job, prompt=prompt, text=text))
    return items


def _vctk_vc(path: Path) -> list[Item]:
    """VCTK 0.92 or 0.80 as published: <speaker>/<utterance> of audio, text in txt/<speaker>/<utterance>.txt.

    The paper lists no pairs.  Ours: the first two sentences of every speaker become the next speaker's, by name, whose
    last sentence is the prompt.  The second microphone of 0.92 is left out.
    """
    voices: dict[str, dict[str, Path]] = {}
    for audio in files_under(path):
        utterance = audio.stem.removesuffix("_mic1")
        if audio.suffix.lower() in SUFFIXES and _vctk_text(path, audio.parent.name, utterance).is_file():
            voices.setdefault(audio.parent.name, {})[utterance] = audio
    speakers = sorted(voices)
    if len(speakers) == 1:
        raise EvaluationError(f"--suite_path={path}: speaks {speakers[0]} alone; conversion needs two speakers")
    items = []
    for speaker, target in zip(speakers, speakers[1:] + speakers[:1], strict=True):
        prompt = voices[target][max(voices[target])]
        for utterance in sorted(voices[speaker])[:_VCTK_SENTENCES]:
            source = voices[speaker][utterance]
            items.append(
                Item(
                    name=f"{utterance}_{target}",
                    job={"source": os.path.abspath(source), "prompt": os.path.abspath(prompt)},
                    source=source,
                    prompt=prompt,
                    text=read_text(_vctk_text(path, speaker, utterance)).strip(),
                )
            )
    return items


def _vctk_text(folder: Path, speaker: str, utterance: str) -> Path:
    return folder / "txt" / speaker / f"{utterance}.txt"


def _libri2mix(path: Path) -> list[Item]:
    """Libri2Mix: one metadata file mixture_*.csv with mixture_ID, mixture_path, source_1_path and source_2_path.

    An ID joins the two utterances of LibriSpeech by _, and each begins with its speaker and -.  The target is the first
    voice.  The set names no prompts: the target's next utterance in the list is taken.  Paths that are not absolute are
    taken from the file's folder; texts from LibriSpeech's *.trans.txt where they lie below it too.
    """
    place = _only(path, "mixture_*.csv")
    table = csv.DictReader(read_lines(place))
    if missing := [column for column in _MIXTURE_COLUMNS if column not in (table.fieldnames or ())]:
        raise EvaluationError(f"{place}: has no column {', '.join(missing)}")
    mixtures, waves = [], {}
    for number, row in enumerate(table, start=2):
        utterances = (row["mixture_ID"] or "").split("_")
        if len(utterances) != 2 or not all(row[column] for column in _MIXTURE_COLUMNS):
            raise EvaluationError(f"{place}: line {number}: mixture_ID is {row['mixture_ID']!r}; expected a-1-2_b-3-4")
        voices = [place.parent / row[column] for column in ("source_1_path", "source_2_path")]
        mixtures.append((row["mixture_ID"], place.parent / row["mixture_path"], utterances[0], *voices))
        waves |= dict(zip(utterances, voices, strict=True))
    texts = dict(_transcripts(place.parent))
    by_speaker: dict[str, list[str]] = {}
    for utterance in sorted(waves):
        by_speaker.setdefault(utterance.split("-")[0], []).append(utterance)
    items = []
    for name, mixture, utterance, target, interferer in mixtures:
        said = by_speaker[utterance.split("-")[0]]
        if len(said) == 1:
            raise EvaluationError(f"{place}: {name}: its first speaker says nothing else that could be the prompt")
        prompt = waves[said[(said.index(utterance) + 1) % len(said)]]
        items.append(
            Item(
                name=name,
                job={"source": os.path.abspath(mixture), "prompt": os.path.abspath(prompt)},
                reference=target,
                prompt=prompt,
                source=mixture,
                interferer=interferer,
                text=texts.get(utterance),
            )
        )
    return items


def _transcripts(folder: Path) -> Iterator[tuple[str, str]]:
    for path in files_under(folder):
        if path.name.endswith(".trans.txt"):
            for line in read_lines(path):
                utterance, _, text = line.strip().partition(" ")
                yield utterance, text


def _dns2020(path: Path) -> list[Item]:
    """DNS Challenge 2020, one part: noisy waves ..._fileid_N.wav, clean_fileid_N.wav beside or in ../clean."""
    items = []
    for noisy in files_under(path):
        if not (match := _NOISY.fullmatch(noisy.name)):
            continue
        name = f"clean_fileid_{match[1]}.wav"
        found = [place for place in (noisy.with_name(name), noisy.parent.parent / "clean" / name) if place.is_file()]
        if not found:
            raise EvaluationError(f"{noisy}: has no {name} beside it or in ../clean")
        items.append(Item(name=noisy.stem, job={"source": os.path.abspath(noisy)}, reference=found[0], source=noisy))
    return items


def _lrs(path: Path) -> list[Item]:
    """The test clips of LRS2 or LRS3 alone: <video>/<clip>.mp4 with <clip>.txt, whose first line is `Text: WORDS`."""
    items = []
    for script in files_under(path):
        video = script.with_suffix(".mp4")
        if script.suffix != ".txt" or not video.is_file():
            continue
        label, _, text = (read_lines(script) or [""])[0].partition(":")
        if label != "Text" or not text.strip():
            raise EvaluationError(f"{script}: its first line is no `Text: WORDS`")
        name = script.relative_to(path).with_suffix("").as_posix()
        items.append(Item(name=name, job={"video": os.path.abspath(video)}, reference=video, text=text.strip()))
    return items


SUITES: dict[str, Suite] = {
    "seedtts": Suite(
        task="tts",
        read=_seedtts,
        measures=("wer", "sim_prompt"),
        published={"wer": "2.28 (en), 2.30 (zh)", "sim_prompt": "0.72"},
        notes=(
            "The paper's speech has the true length; these jobs give none, so the system that speaks chooses it.",
            "Without pre-training the paper has a WER of 4.91 (en).",
        ),
        is_pooled=False,
    ),
    "vctk_vc": Suite(
        task="vc",
        read=_vctk_vc,
        measures=("wer", "sim_prompt", "sim_source", "target_over_source"),
        published={"wer": "4.49", "sim_prompt": "0.55"},
        notes=("The paper does not list its pairs; these are ours.",),
    ),
    "libri2mix": Suite(
        task="tse",
        read=_libri2mix,
        measures=("wer", "dwer", "sim_prompt", "sim_reference", "sim_interferer", "target_over_interferer"),
        published={"wer": "6.31"},
        notes=("The set names no prompts; these are ours.", "Guided by text the paper has a WER of 2.70."),
    ),
    "dns2020": Suite(
        task="se",
        read=_dns2020,
        measures=("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl"),
        published={"dnsmos_sig": "3.68", "dnsmos_bak": "4.14", "dnsmos_ovrl": "3.44"},
        notes=("The paper's figures are of the part with reverberation.",),
    ),
    "lrs": Suite(
        task="l2s",
        read=_lrs,
        measures=("wer", "sim_reference"),
        published={"wer": "32.28", "sim_reference": "59.73 (of 100)"},
        notes=("The paper's figures are of LRS2.",),
    ),
}

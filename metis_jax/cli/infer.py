"""Speech from files to files: from recordings, from texts, from lips.

    metis-infer se noisy.wav                              # writes noisy.se.wav
    metis-infer se recordings -o clean                    # all files of a folder, to another one
    metis-infer vc words.wav --prompt=voice.wav -o converted.wav
    metis-infer tse mixture.wav --prompt=voice.wav
    metis-infer tts "What to say." --prompt=voice.wav --prompt_text="What it says." -o said.wav
    metis-infer l2s face.mp4 --prompt=voice.wav -o said.wav
    metis-infer l2s --video=face.mp4 --prompt=voice.wav --output_video=said.mp4
    metis-infer l2s lips.npy --prompt=voice.wav
    metis-infer tse --list=jobs.jsonl

From a clone, `python infer.py` is the same.  The task and what it works on may be flags too, --task and --source.  A
list has one JSON object per line, whose keys are the flags that say what to do: source, prompt, output, text, ….
Exit status: 0; 2 with one line on stderr when the command can not run; 1 when some of several failed, each with its
line, and the rest were done.
"""

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from absl import flags
from tqdm import tqdm

from metis_jax.cli import command
from metis_jax.cli.infer_run import InferRun
from metis_jax.cli.requests import (
    INPUTS,
    KEYS,
    KEYS_OF,
    SHARED,
    Request,
    make_request,
    outputs_of,
    parse_request,
    read_list,
)
from metis_jax.cli.runtime import compile_clock
from metis_jax.evaluation.errors import MissingEvalExtra
from metis_jax.files.places import check_is_local
from metis_jax.inference.programs import kept_in
from metis_jax.inference.script import LENGTH_RULES
from metis_jax.reports import reports_of
from metis_jax.tasks import TASKS
from metis_jax.text.errors import MissingTextExtra
from metis_jax.text.languages import AUTO, LANGUAGES
from metis_jax.video.errors import MissingVideoExtra

_INPUTS = {
    "source": "The recording to work on, of any rate and length (se, tse, vc).",
    "features": "Lip features, an .npy file of [frames, width] at 25 frames per second, or a --video (l2s).",
    "video": "Instead of --features: a video of a face that speaks, or an .npz file of mouth crops (l2s).",
    "output_video": "A copy of the video to write with the new sound, .mp4, .mov or .mkv (l2s).",
    "prompt": "A recording of the target voice (tse, vc, tts, l2s).",
    "output": "The file to write, 24 kHz mono, or a folder; by default beside what is read (not for tts).",
    "text": "What to say (tts), or what is said in the mixture (tse, if known).",
    "phones": "In place of --text: phones joined by |, or their ids.",
    "prompt_text": "What the prompt says (tts, tse with text); heard by a recogniser if left out and needed.",
    "prompt_phones": "In place of --prompt_text: phones joined by |, or their ids.",
    "language": f"Of the text: {', '.join(LANGUAGES)} or {AUTO}, the default.",
    "prompt_language": "Of the prompt's text; by default that of the text.",
}

_REFUSALS = (MissingTextExtra, MissingEvalExtra, MissingVideoExtra)


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_enum(
        "task",
        None,
        list(TASKS),
        "; ".join(f"{name}: {task.title}" for name, task in TASKS.items()) + ".",
        flag_values=values,
    )
    for name, help in _INPUTS.items():
        flags.DEFINE_string(name, None, help, short_name="o" if name == "output" else None, flag_values=values)
    flags.DEFINE_integer("face", None, "Which of several faces in the video, from 1 on (l2s).", flag_values=values)
    flags.DEFINE_float("seconds", None, "How long the text takes (tts).", flag_values=values)
    flags.DEFINE_float("speed", None, "In place of --seconds: times as fast as the prompt.", flag_values=values)
    flags.DEFINE_enum("length", None, list(LENGTH_RULES), "What chooses the length (tts).", flag_values=values)
    flags.DEFINE_boolean("split", None, "Say a long text in parts; on by default (tts).", flag_values=values)
    flags.DEFINE_string("list", None, "JSON lines of jobs, instead of the flags above.", flag_values=values)
    flags.DEFINE_string("lexicon", None, "Words of yours: lines of word, tab, phones; or JSON.", flag_values=values)
    flags.DEFINE_string("durations", None, "Bundle with a duration predictor, if not --bundle.", flag_values=values)
    flags.DEFINE_string("recognizer", None, "Whisper folder that hears a missing --prompt_text.", flag_values=values)
    flags.DEFINE_string("bundle", None, "The models; by default the small ones of the package.", flag_values=values)
    flags.DEFINE_integer("steps", None, "Steps of stage 1.", lower_bound=1, upper_bound=128, flag_values=values)
    flags.DEFINE_float("guidance", None, "Guidance of stage 1.", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("seed", 0, "Of the noise.", lower_bound=0, upper_bound=2**31 - 1, flag_values=values)
    flags.DEFINE_enum(
        "dtype",
        None,
        ["float32", "bfloat16"],
        "Compute dtype; by default bfloat16 on accelerators and float32 on CPU.",
        flag_values=values,
    )
    flags.DEFINE_string("compilation_cache", None, command.CACHE_HELP, flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("infer", __doc__, _flags(), _run, argv, refusals=_REFUSALS, takes_words=True)


def _run(given: flags.FlagValues, *words: str) -> int:
    if given.task is None and words and words[0] in TASKS:
        given.task, words = words[0], words[1:]
    if given.task is None:
        unexpected = f"unexpected argument {words[0]!r}; " if words else ""
        raise ValueError(f"{unexpected}give --task, or first of all one of {', '.join(TASKS)}")
    asked = {key: given[key].value for key in KEYS if given[key].value is not None}
    with compile_clock(announce=_say_compiling) as clock, reports_of("metis_jax.text", to_stdout=True):
        ready = functools.partial(InferRun, given, clock)
        if given.list is not None:
            if alone := [key for key in asked if key not in SHARED or given.task != "tts"]:
                raise ValueError(f"--list stands instead of --{alone[0]}, which its jobs say themselves")
            if words:
                raise ValueError(f"--list stands instead of {words[0]!r}; give one")
            jobs = [
                (f"line {number}", functools.partial(parse_request, line, given.task, asked))
                for number, line in enumerate(read_list(given.list), start=1)
                if line.strip()
            ]
            return _many(ready, jobs)
        asked |= _said_without_flag(given.task, words, asked)
        main = "video" if "video" in asked else KEYS_OF[given.task].needs[0]
        if len(words) > 1 or (main in INPUTS and os.path.isdir(asked.get(main, ""))):
            outputs = outputs_of(words or [asked[main]], given.task, asked.get("output"))
            jobs = [
                (place, functools.partial(_job_in_folder, {**asked, main: place, "output": output}, given.task))
                for place, output in outputs.items()
            ]
            return _many(ready, jobs)
        if main in INPUTS and asked.get(main):
            [asked["output"]] = _one_output(asked[main], given.task, asked.get("output"))
        job = make_request(asked, given.task, named="--{}=…".format)
        run = ready(devices=None)
        run.job(job)
        run.report(job.output)
        return 0


def _said_without_flag(task: str, words: Sequence[str], asked: Mapping[str, Any]) -> dict[str, str]:
    """{key: value} of what a task works on: a recording, lip features or a text."""
    key = "text" if task == "tts" else KEYS_OF[task].needs[0]
    if not words:
        return {}
    for word in () if key == "text" else words:
        check_is_local(word)
    if key in asked:
        raise ValueError(f"{key} is given twice, as {words[0]!r} and with --{key}={asked[key]}; give one")
    if key == "text" and len(words) > 1:
        raise ValueError(f"unexpected argument {words[1]!r}; put a text in quotes")
    return {key: words[0]}


def _one_output(place: str, task: str, output: str | None) -> Sequence[str]:
    is_folder = output is not None and os.path.isdir(output)
    return [output] if output and not is_folder else list(outputs_of([place], task, output).values())


def _job_in_folder(entry: Mapping[str, Any], task: str) -> Request:
    """A job whose output may be the first in its folder."""
    os.makedirs(os.path.dirname(entry["output"]) or ".", exist_ok=True)
    return make_request(entry, task, named="--{}=…".format)


def _many(ready: Callable[..., InferRun], jobs: Sequence[tuple[str, Callable[[], Request]]]) -> int:
    run = ready(devices=jax.local_devices())
    failed = run.jobs(jobs)
    run.report(f"{run.written} files")
    return 1 if failed else 0


def _say_compiling() -> None:
    kept = kept_in()
    where = f"once per length; kept in {kept}" if kept else "once per length and start; programs are not kept"
    tqdm.write(f"compiling ({where})", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

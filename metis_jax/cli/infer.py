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

import contextlib
import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from metis_jax.audio import files
from metis_jax.audio.files import Wave
from metis_jax.cli import command
from metis_jax.cli.requests import (
    INPUTS,
    KEYS,
    SHARED,
    TASKS,
    Request,
    make_request,
    outputs_of,
    parse_request,
    read_list,
)
from metis_jax.cli.runtime import CompileClock, compile_clock
from metis_jax.clock import CODEC_RATE, SSL_RATE
from metis_jax.evaluation.errors import MissingEvalExtra, Unmeasurable
from metis_jax.evaluation.recognizer import Recognizer
from metis_jax.faults import in_one_line
from metis_jax.inference.metis import MAXIMUM_PROMPT_SECONDS, Metis, Prompt, Speech
from metis_jax.inference.programs import kept_in, use_compilation_cache
from metis_jax.inference.script import LENGTH_RULES, Plan, Script
from metis_jax.reports import reports_of
from metis_jax.text.errors import MissingTextExtra
from metis_jax.text.languages import AUTO, LANGUAGES
from metis_jax.text.lexicon import Lexicon
from metis_jax.video.errors import MissingVideoExtra
from metis_jax.video.sound import write_with_sound

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
        "; ".join(f"{name}: {task.help}" for name, task in TASKS.items()) + ".",
        flag_values=values,
    )
    for name, help in _INPUTS.items():
        flags.DEFINE_string(name, None, help, short_name="o" if name == "output" else None, flag_values=values)
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
    flags.DEFINE_boolean(
        "match_pitch", None, "Move the source to the pitch of the prompt first (vc).", flag_values=values
    )
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
        ready = functools.partial(_Run, given, clock)
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
        main = "video" if "video" in asked else TASKS[given.task].needs[0]
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
    key = "text" if task == "tts" else TASKS[task].needs[0]
    if not words:
        return {}
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


def _many(ready: Callable[..., "_Run"], jobs: Sequence[tuple[str, Callable[[], Request]]]) -> int:
    run = ready(devices=jax.local_devices())
    failed = run.jobs(jobs)
    run.report(f"{run.written} files")
    return 1 if failed else 0


def _say_compiling() -> None:
    kept = kept_in()
    where = f"once per length; kept in {kept}" if kept else "once per length and start; programs are not kept"
    tqdm.write(f"compiling ({where})", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class _Ready:
    """What decoding one job takes; `phones` are those of a recording's words, empty where they are not known."""

    prompt: Prompt
    input: Wave | Plan | np.ndarray
    phones: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))


class _Run:
    """The models, the settings, and the tally of one command."""

    def __init__(self, given: flags.FlagValues, clock: CompileClock, devices: Sequence[jax.Device] | None):
        use_compilation_cache(given.compilation_cache)
        self._task, self._clock = given.task, clock
        self._recognizer = given.recognizer
        lexicon = Lexicon.from_file(given.lexicon) if given.lexicon else None
        self._metis = Metis.from_pretrained(
            given.bundle or "nano",
            dtype=given.dtype,
            devices=devices,
            lexicon=lexicon,
            durations=given.durations,
        )
        self._metis.engine.require(self._task)
        self._settings = self._metis.settings(
            self._task, steps=given.steps, guidance=given.guidance, match_pitch=given.match_pitch, seed=given.seed
        )
        started = time.perf_counter()
        self._metis.engine.load(self._task)
        self._loading = time.perf_counter() - started
        self._started = time.perf_counter()
        self._compiled_before = clock.seconds
        self._seconds = 0.0
        self._failed = 0
        self.written = 0
        self._prompt = functools.lru_cache(maxsize=64)(self._encode_prompt)
        self._hear = functools.lru_cache(maxsize=64)(self._recognize)

    def job(self, job: Request) -> None:
        """One job alone."""
        if job.source is not None and job.script is None:
            self._stream(job)
        else:
            self._write(job, *self._decode([self._prepare(job)]))

    def _stream(self, job: Request) -> None:
        """One source of any length."""
        prompt = self._prompt(job.prompt)
        steps = self._metis.planned_steps(files.seconds(job.source), prompt, self._settings)
        chunks = files.stream_wave(job.source, SSL_RATE)
        with files.write_wave(job.output, CODEC_RATE) as writer, _bar(steps, Path(job.source).name) as advance:
            for piece in self._metis.stream(self._task, chunks, prompt, settings=self._settings, progress=advance):
                writer.write(piece.wave.samples)
        self._seconds += writer.seconds
        self.written += 1

    def jobs(self, asked: Sequence[tuple[str, Callable[[], Request]]]) -> int:
        """All jobs, each under the name that its faults get, in batches; how many failed."""
        jobs: list[tuple[str, Request]] = []
        written: dict[str, str] = {}
        for where, make in asked:
            with self._item(where):
                job = make()
                first = written.setdefault(os.path.realpath(job.output), where)
                if first != where:
                    raise ValueError(f"{job.output}: is the output of {first} too; name another")
                jobs.append((where, job))
        read = {os.path.realpath(place): where for where, job in jobs for place in job.inputs}
        for where, job in jobs:
            with self._item(where):
                if (reader := read.get(os.path.realpath(job.output))) is not None:
                    raise ValueError(f"{job.output}: is read by {reader}; name another output")
        jobs = [(where, job) for where, job in jobs if os.path.realpath(job.output) not in read]
        size = 4 * self._metis.engine.largest_batch
        with tqdm(total=len(jobs), unit="item", disable=None) as bar:
            for start in range(0, len(jobs), size):
                self._batch(jobs[start : start + size])
                bar.update(len(jobs[start : start + size]))
        return self._failed

    def _batch(self, jobs: Sequence[tuple[str, Request]]) -> None:
        """What fits one pass together, the others one by one."""
        ready = []
        for where, job in jobs:
            with self._item(where):
                if job.source is not None and job.script is None and not self._fits(job):
                    self._stream(job)
                else:
                    ready.append((where, job, self._prepare(job)))
        try:
            speech = self._decode([item for _, _, item in ready])
        except MemoryError:
            raise
        except Exception:
            speech = [None] * len(ready)  # the one that is to blame shows when each is decoded alone
        for (where, job, item), one in zip(ready, speech, strict=True):
            with self._item(where):
                self._write(job, one or self._decode([item])[0])

    def _fits(self, job: Request) -> bool:
        return self._metis.fits_one_window(files.seconds(job.source), self._prompt(job.prompt))

    def _prepare(self, job: Request) -> _Ready:
        """A job, read and checked."""
        prompt = self._prompt(job.prompt) or self._metis.no_prompt
        if job.source is not None:
            wave = files.read_wave(job.source)
            if job.script is not None:
                script = job.script
                if self._metis.needs_prompt_words(self._task):
                    script = self._with_prompt_words(script, job.prompt)
                phones = self._metis.phones_of(self._task, script, prompt)
                if not self._fits(job):
                    raise ValueError(f"{job.source}: {wave.seconds:.1f} s do not fit one pass, as a text asks for")
                return _Ready(prompt, wave, phones)
            return _Ready(prompt, wave)
        if job.script is not None:
            return _Ready(prompt, self._metis.plan(self._with_prompt_words(job.script, job.prompt), prompt))
        return _Ready(prompt, self._metis.read_lips(job.video or job.features, prompt))

    def _with_prompt_words(self, script: Script, prompt: str) -> Script:
        """The script, with what the prompt in a file is heard to say where it does not tell."""
        if script.prompt_text or script.prompt_phones:
            return script
        return dataclasses.replace(script, prompt_text=self._hear(prompt, _spoken_language(script)))

    def _decode(self, items: Sequence[_Ready]) -> list[Speech]:
        prompts, inputs = [item.prompt for item in items], [item.input for item in items]
        passes = sum(len(one.parts) if isinstance(one, Plan) else 1 for one in inputs)
        with _bar(passes * self._settings.total_steps(self._metis.engine.num_levels), "steps") as advance:
            if self._task == "tts":
                return self._metis.speak(inputs, prompts, settings=self._settings, progress=advance)
            if self._task == "l2s":
                return self._metis.lip_read(inputs, prompts, settings=self._settings, progress=advance)
            texts = [item.phones for item in items]
            return self._metis.transform(
                self._task,
                inputs,
                prompts,
                phones=texts if any(map(len, texts)) else None,
                settings=self._settings,
                progress=advance,
            )

    def _write(self, job: Request, speech: Speech) -> None:
        with files.write_wave(job.output, CODEC_RATE) as writer:
            writer.write(speech.wave.samples)
        if job.output_video:
            write_with_sound(job.output_video, job.video, speech.wave.samples, CODEC_RATE)
        self._seconds += speech.wave.seconds
        self.written += 1
        if speech.length_rule:
            tqdm.write(f"{job.output}: {speech.wave.seconds:.2f} s, length {LENGTH_RULES[speech.length_rule]}")

    @contextlib.contextmanager
    def _item(self, where: str) -> Iterator[None]:
        """Reports and counts what goes wrong with one item of a list."""
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            self._failed += 1
            tqdm.write(f"infer: {where}: {in_one_line(error).removeprefix(f'{where}: ')}", file=sys.stderr)

    def report(self, what: str) -> None:
        """Says what was written, and what took how long."""
        compiling = self._clock.seconds - self._compiled_before
        computing = max(time.perf_counter() - self._started - compiling, 0.0)
        rate = f"{computing / self._seconds:.3f}" if self._seconds else "-"
        print(
            f"{what}: {self._seconds:.1f} s of audio; loading {self._loading:.1f} s, compiling {compiling:.1f} s, "
            f"computing {computing:.1f} s (RTF {rate})"
        )

    def _encode_prompt(self, path: str | None) -> Prompt | None:
        if path is None:
            return None
        return self._metis.encode_prompt(files.read_wave(path, maximum_seconds=MAXIMUM_PROMPT_SECONDS))

    def _recognize(self, path: str, language: str) -> str:
        """The words of a prompt."""
        try:
            recognizer = Recognizer(self._recognizer, language=language)
        except MissingEvalExtra as error:
            raise ValueError(f"prompt_text is missing; give it, or let it be heard, which {error}") from None
        except Unmeasurable as error:
            raise ValueError(f"prompt_text is missing; give it: {error}") from None
        wave = files.read_wave(path, maximum_seconds=MAXIMUM_PROMPT_SECONDS)
        text = recognizer.transcribe(wave.at(SSL_RATE), SSL_RATE)
        if not text:
            raise ValueError(f"{path}: no words were heard; give prompt_text")
        tqdm.write(f"{path}: heard {text!r}")
        return text


def _spoken_language(script: Script) -> str:
    """Of the prompt; the recogniser that is always there knows English."""
    language = script.prompt_language or script.language
    return "en" if language == AUTO else language


@contextlib.contextmanager
def _bar(steps: int, name: str) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on a terminal; elsewhere None, so that decoding is not interrupted to report."""
    if not sys.stderr.isatty():
        yield None
        return
    with tqdm(total=steps, desc=name, unit="step", leave=False) as bar:
        yield bar.update


if __name__ == "__main__":
    sys.exit(main())

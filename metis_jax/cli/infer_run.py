"""What `infer.py` does with its jobs: the models of one command, what they decode and write, and the tally."""

import contextlib
import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from metis_jax.audio import files
from metis_jax.audio.files import Wave
from metis_jax.cli.requests import Request
from metis_jax.cli.runtime import CompileClock
from metis_jax.clock import CODEC_RATE, SSL_RATE
from metis_jax.evaluation.errors import MissingEvalExtra, Unmeasurable
from metis_jax.evaluation.recognizer import Recognizer
from metis_jax.faults import in_one_line
from metis_jax.inference.metis import MAXIMUM_PROMPT_SECONDS, Metis
from metis_jax.inference.programs import use_compilation_cache
from metis_jax.inference.script import LENGTH_RULES, Plan, Script
from metis_jax.inference.settings import Prompt, Speech
from metis_jax.text.languages import AUTO
from metis_jax.text.lexicon import Lexicon
from metis_jax.video.sound import write_with_sound


@dataclasses.dataclass(frozen=True)
class _Ready:
    """What decoding one job takes; `phones` are those of a recording's words, empty where they are not known."""

    prompt: Prompt
    input: Wave | Plan | np.ndarray
    phones: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))


class InferRun:
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
        self._metis.require(self._task)
        self._settings = self._metis.settings(self._task, steps=given.steps, guidance=given.guidance, seed=given.seed)
        started = time.perf_counter()
        self._metis.load(self._task)
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
        size = 4 * self._metis.largest_batch
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
        return self._metis.fits_one_window(files.seconds(job.source), self._prompt(job.prompt), self._settings)

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
        return _Ready(prompt, self._metis.read_lips(job.video or job.features, face=job.face))

    def _with_prompt_words(self, script: Script, prompt: str) -> Script:
        """The script, with what the prompt in a file is heard to say where it does not tell."""
        if script.prompt_text or script.prompt_phones:
            return script
        return dataclasses.replace(script, prompt_text=self._hear(prompt, _spoken_language(script)))

    def _decode(self, items: Sequence[_Ready]) -> list[Speech]:
        prompts, inputs = [item.prompt for item in items], [item.input for item in items]
        passes = sum(map(self._passes, inputs, prompts))
        with _bar(passes * self._metis.steps_per_pass(self._settings), "steps") as advance:
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

    def _passes(self, one: Wave | Plan | np.ndarray, prompt: Prompt) -> int:
        """How many passes through both stages an input takes."""
        if isinstance(one, np.ndarray):
            return self._metis.lip_passes(one, prompt)
        return len(one.parts) if isinstance(one, Plan) else 1

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

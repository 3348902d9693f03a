"""Speech to speech, from files to files.

    python infer.py --task=se --source=noisy.wav --output=clean.wav
    python infer.py --task=vc --source=words.wav --prompt=voice.wav --output=converted.wav
    python infer.py --task=tse --list=jobs.jsonl

A list has one JSON object per line with source, output and, for tse and vc, prompt.  Exit status: 0; 2 with one line on
stderr when the command can not run; 1 when items of a list failed, each with its line, and the rest were done.
"""

import dataclasses
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path

import jax
from absl import flags
from tqdm import tqdm

from metis_jax import audio
from metis_jax.audio import AudioError
from metis_jax.cli.runtime import CACHE_HELP, CompileClock, compile_clock, use_compilation_cache
from metis_jax.data.audio import CODEC_RATE, SSL_RATE
from metis_jax.synthesis import MAXIMUM_PROMPT_SECONDS, Metis, Prompt, Settings

_NEEDS_PROMPT = {"se": False, "tse": True, "vc": True}


@dataclasses.dataclass(frozen=True)
class Job:
    """One source to one output."""

    source: str
    output: str
    prompt: str | None = None


def _flags() -> flags.FlagValues:
    """This command's flags, in a registry of their own so that commands can be imported side by side."""
    values = flags.FlagValues()
    flags.DEFINE_enum(
        "task",
        None,
        list(_NEEDS_PROMPT),
        "se: speech enhancement; tse: target speaker extraction; vc: voice conversion.",
        flag_values=values,
    )
    flags.DEFINE_string("source", None, "The recording to work on, of any rate and length.", flag_values=values)
    flags.DEFINE_string("prompt", None, "A recording of the target voice (tse, vc).", flag_values=values)
    flags.DEFINE_string("output", None, "The file to write, 24 kHz mono.", flag_values=values)
    flags.DEFINE_string("list", None, "JSON lines of jobs, instead of the three above.", flag_values=values)
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
    flags.DEFINE_string("compilation_cache", None, CACHE_HELP, flag_values=values)
    flags.DEFINE_boolean("help", False, "Show this help.", short_name="h", flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    given = _flags()
    try:
        rest = given(list(sys.argv if argv is None else argv))
        if given.help:
            print(f"{__doc__}\n{given.main_module_help()}")
            return 0
        if len(rest) > 1:
            raise ValueError(f"unexpected argument {rest[1]!r}; every input is a flag, see --help")
        if given.task is None:
            raise ValueError(f"give --task, one of {', '.join(_NEEDS_PROMPT)}")
        is_list = given.list is not None
        if is_list and (given.source or given.output or given.prompt):
            raise ValueError("--list stands instead of --source, --prompt and --output")
        if is_list:
            lines = _read_list(given.list)
        else:
            job = _check_job({key: given[key].value for key in ("source", "output", "prompt")}, given.task, "--")
        with compile_clock() as clock:
            run = _Run(given, clock, devices=None if not is_list else jax.local_devices())
            if not is_list:
                run.stream(job)
            failed = run.jobs(lines) if is_list else 0
            run.report()
    except (ValueError, flags.Error) as error:
        print(f"infer: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


def _read_list(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: can not be read ({getattr(error, 'strerror', None) or error})") from None
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path}: has no jobs")
    return lines


def _parse_job(line: str, task: str) -> Job:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not valid JSON ({error})") from None
    if not isinstance(entry, dict):
        raise ValueError(f"a job is a JSON object, not {type(entry).__name__}")
    unknown = set(entry) - {field.name for field in dataclasses.fields(Job)}
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}; a job has source, output and prompt")
    return _check_job(entry, task, "")


def _check_job(entry: dict[str, object], task: str, mark: str) -> Job:
    """The job, if its files look usable: everything that can be known before any computing."""
    wanted = ("source", "output", "prompt") if _NEEDS_PROMPT[task] else ("source", "output")
    for key in wanted:
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise ValueError(f"task {task} needs {mark}{key}=FILE" if mark else f"task {task} needs the key {key!r}")
    if entry.get("prompt") and "prompt" not in wanted:
        raise ValueError(f"task {task} takes no prompt")
    audio.check_output(entry["output"])
    if audio.seconds(entry["source"]) < audio.MINIMUM_SECONDS:
        found = audio.seconds(entry["source"])
        raise AudioError(f"{entry['source']}: {found:.3f} s of audio; at least {audio.MINIMUM_SECONDS} s are needed")
    return Job(**{key: entry[key] for key in wanted})


class _Run:
    """The models, the settings, and the tally of one command."""

    def __init__(self, given: flags.FlagValues, clock: CompileClock, devices: Sequence[jax.Device] | None):
        use_compilation_cache(given.compilation_cache)
        self._task, self._clock = given.task, clock
        self._metis = Metis.from_bundle(given.bundle or _packaged_bundle(), dtype=given.dtype, devices=devices)
        self._metis.engine.require(self._task)
        self._settings = Settings.of(self._task, steps=given.steps, guidance=given.guidance, seed=given.seed)
        started = time.perf_counter()
        self._metis.engine.load(self._task)
        self._loading = time.perf_counter() - started
        self._started = time.perf_counter()
        self._compiled_before = clock.seconds
        self._seconds = 0.0
        self._prompt = functools.lru_cache(maxsize=64)(self._encode_prompt)

    def stream(self, job: Job) -> None:
        """One source of any length."""
        prompt = self._prompt(job.prompt)
        steps = self._metis.planned_steps(self._task, audio.seconds(job.source), prompt, self._settings)
        chunks = audio.stream_wave(job.source, SSL_RATE)
        with audio.write_wave(job.output, CODEC_RATE) as writer, _bar(steps, Path(job.source).name) as advance:
            for piece in self._metis.stream(self._task, chunks, prompt, settings=self._settings, progress=advance):
                writer.write(piece.wave.samples)
        self._seconds += writer.seconds

    def jobs(self, lines: Iterable[str]) -> int:
        """All jobs of a list, in batches; how many failed."""
        failed = 0

        def report(where: str, error: ValueError) -> None:
            nonlocal failed
            failed += 1
            tqdm.write(f"infer: {where}: {error}", file=sys.stderr)

        jobs = []
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    jobs.append((f"line {number}", _parse_job(line, self._task)))
                except ValueError as error:
                    report(f"line {number}", error)
        with tqdm(total=len(jobs), unit="item", disable=None) as bar:
            for part in _parts(jobs, 4 * self._metis.engine.largest_batch):
                self._batch(part, report)
                bar.update(len(part))
        return failed

    def _batch(self, part: Sequence[tuple[str, Job]], report: Callable[[str, ValueError], None]) -> None:
        """Short sources together, the others one by one."""
        waves, prompts, short = [], [], []
        for where, job in part:
            try:
                prompt = self._prompt(job.prompt)
                if not self._metis.fits_one_window(audio.seconds(job.source), prompt):
                    self.stream(job)
                    continue
                wave = audio.read_wave(job.source)
            except ValueError as error:
                report(where, error)
                continue
            waves.append(wave)
            prompts.append(prompt or self._metis.no_prompt)
            short.append((where, job))
        with _bar(len(short) * self._settings.total_steps(self._metis.engine.num_levels), "steps") as advance:
            speech = self._metis.transform(self._task, waves, prompts, settings=self._settings, progress=advance)
        for (where, job), one in zip(short, speech, strict=True):
            try:
                with audio.write_wave(job.output, CODEC_RATE) as writer:
                    writer.write(one.wave.samples)
                self._seconds += writer.seconds
            except ValueError as error:
                report(where, error)

    def report(self) -> None:
        compiling = self._clock.seconds - self._compiled_before
        computing = max(time.perf_counter() - self._started - compiling, 0.0)
        rate = f"{computing / self._seconds:.3f}" if self._seconds else "-"
        print(
            f"audio {self._seconds:.1f} s, compute {computing:.1f} s, RTF {rate}, "
            f"compile {compiling:.1f} s, load {self._loading:.1f} s"
        )

    def _encode_prompt(self, path: str | None) -> Prompt | None:
        if path is None:
            return None
        return self._metis.encode_prompt(audio.read_wave(path, maximum_seconds=MAXIMUM_PROMPT_SECONDS))


def _packaged_bundle() -> Path:
    path = Path(str(resources.files("metis_jax"))) / "assets" / "nano"
    if not path.is_dir():
        raise ValueError("no models: this installation has no bundle of its own; give --bundle=DIR")
    return path


def _parts(jobs: Sequence[tuple[str, Job]], size: int) -> Iterator[Sequence[tuple[str, Job]]]:
    iterator = iter(jobs)
    while part := list(itertools.islice(iterator, size)):
        yield part


class _bar:
    """A progress bar on a terminal; elsewhere None, so that decoding is not interrupted to report."""

    def __init__(self, steps: int, name: str):
        self._bar = tqdm(total=steps, desc=name, unit="step", leave=False) if sys.stderr.isatty() else None

    def __enter__(self) -> Callable[[int], None] | None:
        return self._bar.update if self._bar else None

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.close()


if __name__ == "__main__":
    sys.exit(main())

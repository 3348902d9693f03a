"""Audio files to shards, by several processes, resumable, with a report of what was refused and why.

Two passes.  The scan decodes and judges every file and leaves one small JSON file per chunk; with all of them there,
duplicates are known, and the order of the records and their division into shards are fixed.  The second pass writes the
shards.  Whatever is complete when a run is killed is kept; a restart of the same command does the rest, and ends with
the bytes that an undisturbed run would have written.
"""

import concurrent.futures
import concurrent.futures.process
import dataclasses
import hashlib
import json
import math
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import tqdm

from metis_jax.audio.recordings import SoundError, open_recording
from metis_jax.audio.waves import AudioError, read_wave, write_flac
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.items import Item, list_items
from metis_jax.data.corpus.mouths import mouth_crops
from metis_jax.data.corpus.precomputed import given_arrays
from metis_jax.data.corpus.records import Record, RecordError
from metis_jax.faults import in_one_line
from metis_jax.files.inputs import InputError, read_bytes, read_json
from metis_jax.files.outputs import new_file, write_text
from metis_jax.video.errors import VideoError
from metis_jax.video.faces import check_installed
from metis_jax.video.sound import read_sound

REASONS = (
    "unreadable",
    "mismatch",
    "bad array",
    "no mouth",
    "too short",
    "too long",
    "low rate",
    "silent",
    "clipped",
    "duplicate",
)
_CHUNK = 100  # files judged between two savings
_SOURCE_TOLERANCE = 0.1  # seconds that a `source_audio` may be longer or shorter: what frames of a converter leave over
_KEPT = ("FLAC", "OGG", "MP3", "MPEG")  # containers whose bytes are kept as they are


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What is accepted, and how it is packed.  Levels and clipping are not judged on room responses.

    Attributes:
      min_seconds: for speech; noise needs a fifth of it, a room response any length.
      silence_db: a recording whose peak lies below this level is silent.
      clipped_share: more samples than this at full scale is clipped.
      min_rate: lowest sample rate.
      shard_records: records per shard.
      mouths: whether the mouth is cut out of what has a video; one that shows no face is refused.
    """

    min_seconds: float = 0.5
    max_seconds: float = 120.0
    silence_db: float = -50.0
    clipped_share: float = 0.005
    min_rate: int = 8_000
    shard_records: int = 500
    mouths: bool = False

    def __post_init__(self):
        if not 0 <= self.min_seconds < self.max_seconds:
            raise ValueError(f"min_seconds is {self.min_seconds}, max_seconds {self.max_seconds}; need 0 <= min < max")
        if not 1 <= self.shard_records <= 1_000_000:
            raise ValueError(f"shard_records is {self.shard_records}; expected 1 to 1000000")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the scan found: a reason to refuse ("" accepts), or the facts of the recording."""

    reason: str = ""
    detail: str = ""
    samples: int = 0
    sample_rate: int = 0
    digest: str = ""  # of the decoded 16-bit samples


def _decoded(path: str, name: str) -> tuple[np.ndarray, int]:
    try:
        return read_wave(read_bytes(path), name)
    except InputError as error:
        raise AudioError(f"{name}: {error}") from error


def _heard(item: Item) -> tuple[np.ndarray, int]:
    """The wave of an item and its rate; of a video that has no file of its own for it, its sound."""
    return read_sound(item.path) if item.path == item.video_path else _decoded(item.path, "file")


def judge(item: Item, config: PrepareConfig, mouths: pathlib.Path | None = None) -> Verdict:
    """Whether a recording is taken; whatever it raises is a reason to refuse it.

    `mouths` is a folder for the mouths that are found on the way, if `config` asks for them.
    """
    try:
        return Verdict("unreadable", item.fault) if item.fault else _judge(item, config, mouths)
    except MemoryError:
        raise
    except Exception as error:
        return Verdict("unreadable", in_one_line(error))


def _judge(item: Item, config: PrepareConfig, mouths: pathlib.Path | None) -> Verdict:
    try:
        wave, rate = _heard(item)
        source, source_rate = _decoded(item.source_path, "source_audio") if item.source_path else (wave, rate)
    except (AudioError, VideoError) as error:
        return Verdict("unreadable", str(error))
    seconds, source_seconds = len(wave) / rate, len(source) / source_rate
    facts = {"samples": len(wave), "sample_rate": rate}

    def refuse(reason: str, detail: str) -> Verdict:
        return Verdict(reason, detail, **facts)

    if item.sample_rate and item.sample_rate != rate:
        return refuse("mismatch", f"sample_rate is {rate}, the list says {item.sample_rate}")
    if item.seconds and abs(item.seconds - seconds) > 0.1 + 0.05 * item.seconds:
        return refuse("mismatch", f"{seconds:.2f} seconds, the list says {item.seconds:.2f}")
    if abs(source_seconds - seconds) > _SOURCE_TOLERANCE:
        detail = f"source_audio has {source_seconds:.2f} seconds, the recording {seconds:.2f}; keep the timing"
        return refuse("mismatch", detail)
    least = {"rir": 0.0, "noise": config.min_seconds / 5}.get(item.kind, config.min_seconds)
    if not len(wave) or seconds < least:
        return refuse("too short", f"{seconds:.2f} s, at least {least} s")
    if seconds > config.max_seconds and item.kind != "noise":
        return refuse("too long", f"{seconds:.1f} s, at most {config.max_seconds} s")
    if rate < config.min_rate:
        return refuse("low rate", f"{rate} Hz, at least {config.min_rate} Hz")
    for name, one in (("", wave), ("source_audio: ", source)):
        peak = 20 * math.log10(max(float(np.max(np.abs(one), initial=0.0)), 1e-10))
        if peak < config.silence_db:
            return refuse("silent", f"{name}peak {peak:.0f} dB, at least {config.silence_db:.0f} dB")
    clipped = float(np.mean(np.abs(wave) > 0.999))
    if clipped > config.clipped_share and item.kind != "rir":
        return refuse("clipped", f"{clipped:.1%} of the samples at full scale, at most {config.clipped_share:.1%}")
    try:
        given_arrays(item, seconds)
    except RecordError as error:
        return refuse("bad array", str(error))
    if config.mouths and item.video_path:
        try:
            mouth_crops(item, seconds, mouths)
        except VideoError as error:
            return refuse("no mouth", str(error))
    pcm = np.clip(np.round(wave * 32768), -32768, 32767).astype("<i2")
    return Verdict(**facts, digest=hashlib.blake2b(pcm.tobytes(), digest_size=16).hexdigest())


def packed_audio(path: str) -> bytes:
    """The bytes kept for a file: compressed ones as they are, the rest as FLAC; lossless channels are mixed down.

    What is kept can be sought in, which takes a file that libsndfile reads by itself.
    """
    data = read_bytes(path)
    with open_recording(data) as sound:
        lossless_mix = sound.container == "FLAC" and sound.channels > 1
        if sound.is_plain and sound.container in _KEPT and not lossless_mix:
            return data
    wave, rate = read_wave(data, path)
    return write_flac(wave, rate)


def pack(item: Item, verdict: Verdict, mouths: pathlib.Path | None = None) -> Record:
    """The record of an item that was taken, with the mouth of its video where `mouths` keeps those."""
    seconds = verdict.samples / verdict.sample_rate
    arrays = given_arrays(item, seconds)
    if mouths and item.video_path:
        arrays["mouth_crops"] = mouth_crops(item, seconds, mouths)
    is_film = item.path == item.video_path
    return Record(
        id=item.id,
        audio=write_flac(*read_sound(item.path)) if is_film else packed_audio(item.path),
        source_audio=packed_audio(item.source_path) if item.source_path else b"",
        sample_rate=verdict.sample_rate,
        samples=verdict.samples,
        arrays=arrays,
        **{
            name: getattr(item, name)
            for name in ("kind", "speaker", "text", "language", "license", "source", "held_out", "condition")
        },
    )


def _scan_chunk(path: pathlib.Path, items: Sequence[Item], config: PrepareConfig, mouths: pathlib.Path) -> int:
    shards.write_json(path, [dataclasses.astuple(judge(item, config, mouths)) for item in items])
    return len(items)


def _write_one(path: pathlib.Path, accepted: Sequence[tuple[Item, Verdict]], mouths: pathlib.Path | None) -> int:
    def records() -> Iterator[Record]:
        for item, verdict in accepted:
            try:
                yield pack(item, verdict, mouths)
            except (RecordError, AudioError, SoundError, InputError, VideoError) as error:
                raise shards.ShardError(f"{item.path}: changed since it was scanned: {error}") from error

    return shards.write_shard(path, records())


RunJobs: TypeAlias = Callable[[Sequence[tuple], Callable[..., int], int, str], None]


def exit_with_parent() -> None:
    """Ends this worker when its parent is killed: an orphan would go on writing beside the restarted run.

    Ctrl-C ends it without a word: the parent says it once.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()


def run_jobs(jobs: Sequence[tuple], work: Callable[..., int], processes: int, label: str) -> None:
    """`work(*job)` for all jobs in worker processes, with a progress bar that counts what it returns."""
    with tqdm.tqdm(desc=label, unit=" files", disable=None, mininterval=1.0) as bar:
        if processes <= 1 or len(jobs) <= 1:
            for job in jobs:
                bar.update(work(*job))
            return
        pool = concurrent.futures.ProcessPoolExecutor(
            min(processes, len(jobs)), mp_context=multiprocessing.get_context("spawn"), initializer=exit_with_parent
        )
        try:
            futures = [pool.submit(work, *job) for job in jobs]
            for future in concurrent.futures.as_completed(futures):
                bar.update(future.result())
        except concurrent.futures.process.BrokenProcessPool:
            raise shards.ShardError(
                f"{label}: a worker was ended from outside, as where memory is short; the same command goes on, and "
                "takes less memory with a smaller --processes"
            ) from None
        except BaseException as error:
            if not isinstance(error, Exception):  # told to stop: nobody waits for the files under way
                for worker in multiprocessing.active_children():
                    worker.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fingerprint(items: Sequence[Item], config: PrepareConfig) -> str:
    digest = hashlib.blake2b(json.dumps(dataclasses.asdict(config), sort_keys=True).encode(), digest_size=8)
    for item in items:
        digest.update((repr(item) + item.video_path).encode())
    return digest.hexdigest()


def _claim(output: pathlib.Path, fingerprint: str) -> pathlib.Path:
    """The working folder inside `output`; an output that belongs to another input is refused."""
    work = output / ".prepare"
    for known, found in ((work / "fingerprint", _begun), (output / "report.json", _ended)):
        if known.exists() and found(known) != fingerprint:
            raise shards.ShardError(f"{output}: holds shards of another input or other settings; use a new folder")
    try:
        (work / "scan").mkdir(parents=True, exist_ok=True)
        if not (work / "fingerprint").exists():
            write_text(work / "fingerprint", fingerprint)
    except OSError as error:
        raise shards.ShardError(f"{output}: can not be written: {error.strerror or error}") from error
    return work


def _begun(path: pathlib.Path) -> str:
    """The fingerprint of a run that has not ended."""
    text = read_bytes(path).decode("ascii", "replace")
    if not re.fullmatch("[0-9a-f]{16}", text):
        raise shards.ShardError(f"{path}: damaged; remove {path.parent.parent} and start again")
    return text


def _ended(path: pathlib.Path) -> str:
    """The fingerprint of a run that has ended."""
    try:
        return str(read_json(path)["fingerprint"])
    except (InputError, KeyError, TypeError) as error:
        reason = error if isinstance(error, InputError) else f"{path}: not the report of a run"
        raise shards.ShardError(f"{reason}; remove {path.parent} and start again") from None


def _without_duplicates(items: Sequence[Item], verdicts: Sequence[Verdict]) -> list[Verdict]:
    first: dict[tuple[str, str], str] = {}
    out = []
    for item, verdict in zip(items, verdicts, strict=True):
        # A noise clip that is also someone's speech is for its user to sort out: duplicates are judged per kind.
        key = (item.kind, verdict.digest)
        if not verdict.reason and key in first:
            verdict = dataclasses.replace(verdict, reason="duplicate", detail=f"same samples as {first[key]}")
        elif not verdict.reason:
            first[key] = item.id
        out.append(verdict)
    return out


def prepare(
    source: str | os.PathLike,
    output: str | os.PathLike,
    config: PrepareConfig = PrepareConfig(),
    *,
    layout: str = "",
    processes: int = 1,
    jobs_on: Callable[[pathlib.Path], RunJobs] | None = None,
) -> dict:
    """Prepares a manifest or folder into `output`; the report, which is also written there.

    `jobs_on` gives what runs the jobs, from a folder for its files, in place of `processes` of this machine.
    """
    started = time.monotonic()
    output = pathlib.Path(output)
    if os.path.realpath(source) in {os.path.realpath(output / name) for name in ("report.json", "refused.jsonl")}:
        raise shards.ShardError(f"{source}: would be overwritten, as it lies in {output}; use a new folder")
    items = list_items(source, layout, videos=config.mouths)
    if any(item.video_path and (config.mouths or item.path == item.video_path) for item in items):
        check_installed()
    fingerprint = _fingerprint(items, config)
    work = _claim(output, fingerprint)

    run = jobs_on(work / "jobs") if jobs_on else run_jobs
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    scans = [work / "scan" / f"{number:06d}.json" for number in range(len(chunks))]
    mouths = work / "mouths"
    todo = [(path, chunk, config, mouths) for path, chunk in zip(scans, chunks, strict=True) if not path.exists()]
    run(todo, _scan_chunk, processes, "scan")
    verdicts = [Verdict(*row) for path in scans for row in read_json(path)]
    verdicts = _without_duplicates(items, verdicts)

    accepted = [(item, verdict) for item, verdict in zip(items, verdicts, strict=True) if not verdict.reason]
    # A fixed shuffle, so that every shard is a fair sample whatever the order of the input.
    accepted.sort(key=lambda pair: hashlib.blake2b(pair[0].id.encode(), digest_size=8).digest())
    count = -(-len(accepted) // config.shard_records)
    jobs = []
    for number in range(count):
        path = output / shards.shard_name(number, count)
        if not shards.index_path(path).exists():
            own = accepted[number * config.shard_records : (number + 1) * config.shard_records]
            jobs.append((path, own, mouths if config.mouths else None))
    run(jobs, _write_one, processes, "pack")

    report = _report(items, verdicts, count) | {"fingerprint": fingerprint}
    _write_refused(output / "refused.jsonl", items, verdicts)
    report["elapsed_seconds"] = round(time.monotonic() - started, 1)
    shards.write_json(output / "report.json", report)
    shutil.rmtree(work)
    if not accepted:
        first = f"{verdicts[0].reason}, {verdicts[0].detail}"
        raise shards.ShardError(
            f"{source}: every one of {len(items)} files was refused, the first for: {first}; see {output}/refused.jsonl"
        )
    return report


def _report(items: Sequence[Item], verdicts: Sequence[Verdict], count: int) -> dict:
    pairs = list(zip(items, verdicts, strict=True))
    taken = [(item, verdict) for item, verdict in pairs if not verdict.reason]
    hours: Counter[str] = Counter()
    licenses: Counter[str] = Counter()
    for item, verdict in taken:
        hours[item.kind] += verdict.samples / verdict.sample_rate / 3600
        licenses[item.license or "not stated"] += 1
    refused = Counter(verdict.reason for _, verdict in pairs if verdict.reason)
    return {
        "files": len(pairs),
        "records": len(taken),
        "shards": count,
        "speakers": len({item.speaker for item, _ in taken if item.speaker}),
        "hours": {kind: round(value, 4) for kind, value in sorted(hours.items())},
        "licenses": dict(licenses.most_common()),
        "refused": {reason: refused[reason] for reason in REASONS if refused[reason]},
    }


def _write_refused(path: pathlib.Path, items: Sequence[Item], verdicts: Sequence[Verdict]) -> None:
    with new_file(path) as partial, open(partial, "w", encoding="utf-8") as lines:
        for item, verdict in zip(items, verdicts, strict=True):
            if verdict.reason:
                # A name may be no text.
                place = item.path.encode("utf-8", "backslashreplace").decode()
                row = {"id": item.id, "path": place, "reason": verdict.reason, "detail": verdict.detail}
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")

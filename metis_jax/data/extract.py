"""Shards of audio to shards of tokens: the same records with arrays added, by any number of processes, resumable.

A process takes every n-th shard.  A shard is written whole or not at all, so a killed run loses the shards it was
working on, does them again, and neither loses nor doubles a record.  Waves are decoded by threads while the encoder
works on the ones before.

With `degrade` SSL tokens, features and `degraded_acoustic_tokens` are of a degraded version of each recording, and
`acoustic_tokens` of the recording itself: stage 2 learns from them what tokens that were heard through noise should
sound like, and to hear a voice through noise.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tqdm
from jaxtyping import Float, Int, UInt8

from metis_jax.audio.waves import read_wave, resample
from metis_jax.clock import CODEC_HOP, CODEC_RATE, FRAME_RATE, SSL_HOP, SSL_RATE, ssl_frames, ssl_samples
from metis_jax.data.batches.examples import Waves
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.corpus import BadRecordGuard, BadRecordLimit, Corpus, Selection
from metis_jax.data.corpus.records import Record, RecordError, decode_record
from metis_jax.data.effects.degrade import DegradeConfig, degrade
from metis_jax.faults import in_one_line
from metis_jax.files.inputs import InputError, read_json
from metis_jax.video.mouths import CROP
from metis_jax.weights.identity import ENCODERS, OtherEncoder

log = logging.getLogger(__name__)

ARRAYS = ("ssl_tokens", "acoustic_tokens", "ssl_features", "degraded_acoustic_tokens", "visual_features")
_DEGRADED = {"ssl_tokens", "ssl_features", "degraded_acoustic_tokens"}  # what `degrade` changes
_SPOKEN = ("speech", "video", "demo")  # noise and rooms are passed on as they are
_WINDOW = 30 * FRAME_RATE  # the models were trained on up to 30 s; longer recordings are encoded in windows
_SETTINGS = "extract.json"


@dataclasses.dataclass(frozen=True)
class Heard:
    """The waves of one recording: at 16 and 24 kHz as it is heard, and at 24 kHz as it is."""

    narrow: np.ndarray
    wide: np.ndarray
    clean: np.ndarray


@runtime_checkable
class Encoder(Protocol):
    """What turns lists of waves into lists of arrays, however it batches them."""

    def ssl_features(self, waves: Sequence[Float[np.ndarray, " l"]]) -> list[Float[np.ndarray, "t c"]]: ...

    def semantic_tokens(self, features: Sequence[Float[np.ndarray, "t c"]]) -> list[Int[np.ndarray, " t"]]: ...

    def acoustic_tokens(self, waves: Sequence[Float[np.ndarray, " l"]]) -> list[Int[np.ndarray, "t q"]]: ...

    def visual_features(self, crops: Sequence[UInt8[np.ndarray, "u h w"]]) -> list[Float[np.ndarray, "u c"]]: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """What is added to the records.

    Attributes:
      arrays: some of `ARRAYS`.
        `visual_features` are of the records that have mouth crops, which they replace.
      keep_audio: tokens alone are enough for pre-training, stage 2, tts and l2s; the other tasks need the audio too.
      chunk: records encoded together; more of them make fuller batches.
      degrade: how the recordings are degraded that SSL arrays are made of; None leaves them as they are.  A recording's
        name decides what is drawn for it.
      noise: which recordings of the input are noises to degrade with; where there are none, noise is synthetic.
    """

    arrays: tuple[str, ...] = ("ssl_tokens", "acoustic_tokens")
    keep_audio: bool = True
    chunk: int = 128
    degrade: DegradeConfig | None = None
    noise: Selection = Selection(kinds=("noise",))

    def __post_init__(self):
        unknown = sorted(set(self.arrays) - set(ARRAYS))
        if unknown or not self.arrays:
            raise ValueError(f"arrays is {self.arrays}; use some of {', '.join(ARRAYS)}")
        if len(set(self.arrays)) < len(self.arrays):
            raise ValueError(f"arrays is {self.arrays}; name each once")
        if self.chunk < 1:
            raise ValueError(f"chunk is {self.chunk}; it must be positive")
        if self.degrade and not _DEGRADED & set(self.arrays):
            raise ValueError(f"degrade changes {', '.join(sorted(_DEGRADED))}, and arrays is {self.arrays}; add one")
        if not self.degrade and "degraded_acoustic_tokens" in self.arrays:
            raise ValueError("arrays has degraded_acoustic_tokens; say how they are degraded by degrade")


def _in_windows(
    encode: Callable[[list[np.ndarray]], list[np.ndarray]],
    inputs: Sequence[np.ndarray],
    frames: Sequence[int],
    hop: int,
    overhang: int = 0,
    window: int = _WINDOW,
) -> list[np.ndarray]:
    """`encode` over windows of at most `window` frames of `hop`, the results joined input by input.

    A window may look at `overhang` samples beyond its last frame.
    """
    starts = [range(0, max(1, count), window) for count in frames]
    windows = [
        one[start * hop : (start + window) * hop + overhang]
        for one, own in zip(inputs, starts, strict=True)
        for start in own
    ]
    encoded = iter(encode(windows))
    return [np.concatenate([next(encoded) for _ in own]) for own in starts]


def encode_records(
    encoder: Encoder,
    records: Sequence[Record],
    waves: Sequence[Heard],
    config: ExtractConfig,
    encoders: Mapping[str, str] = MappingProxyType({}),
) -> list[Record]:
    """The records with their arrays, which `encoders` made.  `waves` holds those of each."""
    added: list[dict[str, np.ndarray]] = [dict(record.arrays) for record in records]

    def add(name: str, arrays: Sequence[np.ndarray], dtype: type) -> None:
        for known, array in zip(added, arrays, strict=True):
            known[name] = np.asarray(array, dtype)

    if {"ssl_tokens", "ssl_features"} & set(config.arrays):
        narrow = [own.narrow for own in waves]
        frames = [ssl_frames(len(wave)) for wave in narrow]
        overhang = ssl_samples(_WINDOW) - _WINDOW * SSL_HOP
        features = _in_windows(encoder.ssl_features, narrow, frames, SSL_HOP, overhang)
        if "ssl_features" in config.arrays:
            add("ssl_features", features, np.float16)
        if "ssl_tokens" in config.arrays:
            add("ssl_tokens", _in_windows(encoder.semantic_tokens, features, frames, hop=1), np.uint16)
    for name, wide in (
        ("acoustic_tokens", [own.clean for own in waves]),
        ("degraded_acoustic_tokens", [own.wide for own in waves]),
    ):
        if name in config.arrays:
            frames = [len(wave) // CODEC_HOP for wave in wide]
            add(name, _in_windows(encoder.acoustic_tokens, wide, frames, CODEC_HOP), np.uint16)
    if "visual_features" in config.arrays:
        seen = [known for known in added if "mouth_crops" in known]
        crops = [_middle(known["mouth_crops"]) for known in seen]
        features = _in_windows(encoder.visual_features, crops, list(map(len, crops)), hop=1, window=_WINDOW // 2)
        for known, array in zip(seen, features, strict=True):
            known["visual_features"] = np.asarray(array, np.float16)
            del known["mouth_crops"]
    return [
        dataclasses.replace(
            record,
            arrays=arrays,
            encoders={**record.encoders, **encoders},
            audio=record.audio if config.keep_audio else b"",
            source_audio=record.source_audio if config.keep_audio else b"",
        )
        for record, arrays in zip(records, added, strict=True)
    ]


def _middle(crops: UInt8[np.ndarray, "u h w"]) -> UInt8[np.ndarray, "u s s"]:
    """What an encoder sees, without the margin of training."""
    top, left = ((side - CROP) // 2 for side in crops.shape[1:])
    return crops[:, top : top + CROP, left : left + CROP]


class _Degraded:
    """Recordings at 24 kHz, each as the degradation that belongs to its name makes it."""

    def __init__(self, source: str | os.PathLike, config: DegradeConfig, noise: Selection):
        corpus = Corpus([source])
        self._config, self._noises = config, corpus.select(noise)
        if not len(self._noises):
            log.warning("no recorded noise in %s, so speech is degraded with coloured noise alone", source)
        self._waves = Waves(corpus, cached_seconds=1800.0)

    def __call__(self, name: str, wave: Float[np.ndarray, " l"]) -> Float[np.ndarray, " l"]:
        def recorded(own: np.random.Generator) -> Float[np.ndarray, " k"]:
            return self._waves.whole(int(self._noises[own.integers(len(self._noises))]), CODEC_RATE)

        rng = np.random.default_rng(zlib.crc32(name.encode()))
        noise = recorded if len(self._noises) else None
        return degrade(rng, wave, CODEC_RATE, self._config, noise=noise).astype(np.float32)


def _as_it_is(name: str, wave: Float[np.ndarray, " l"]) -> Float[np.ndarray, " l"]:
    return wave


Hear = Callable[[str, np.ndarray], np.ndarray]


def _read(reader: Any, position: int, where: str, hear: Hear) -> tuple[Record, Heard | None] | tuple[str, str]:
    """A record with its waves (None for kinds that are passed on), or (name, reason) of one that raises anything."""
    try:
        record = decode_record(reader.read([position])[0])
        where = record.id
        if record.kind not in _SPOKEN:
            return record, None
        wave, rate = read_wave(record.audio, record.id)
        if rate != record.sample_rate:
            raise RecordError(f"{record.id}: audio at {rate} Hz, the record says sample_rate {record.sample_rate}")
        if ssl_frames(len(wave) * SSL_RATE // rate) < 1:
            raise RecordError(f"{record.id}: {len(wave)} samples are less than one frame")
        clean = resample(wave, rate, CODEC_RATE)
        if hear is _as_it_is:
            return record, Heard(resample(wave, rate, SSL_RATE), clean, clean)
        wide = hear(record.id, clean)
        return record, Heard(resample(wide, CODEC_RATE, SSL_RATE), wide, clean)
    except MemoryError:
        raise
    except Exception as error:
        return where, in_one_line(error)


def _extract_shard(
    path: pathlib.Path,
    encoder: Encoder,
    config: ExtractConfig,
    hear: Hear,
    guard: BadRecordGuard,
    pool: concurrent.futures.Executor,
    advance: Callable[[float], None],
    encoders: Mapping[str, str],
) -> Iterator[Record]:
    reader = shards.open_reader(path)
    columns = shards.read_index(path)
    # Neighbours in length share a batch.
    order = np.argsort(columns["samples"], kind="stable")
    chunks = [order[start : start + config.chunk] for start in range(0, len(order), config.chunk)]

    def start_reading(chunk: np.ndarray) -> list[concurrent.futures.Future]:
        return [pool.submit(_read, reader, int(at), f"{path.name} record {at}", hear) for at in chunk]

    pending = start_reading(chunks[0]) if chunks else []
    for index in range(len(chunks)):
        read = [future.result() for future in pending]
        pending = start_reading(chunks[index + 1]) if index + 1 < len(chunks) else []
        speech = []
        for one in read:
            if isinstance(one[0], str):
                guard.skip(*one)
                continue
            guard.good()
            if one[1] is None:
                yield one[0]
            else:
                speech.append(one)
        if speech:
            records, waves = zip(*speech, strict=True)
            yield from encode_records(encoder, records, waves, config, encoders)
            advance(sum(record.seconds for record, _ in speech))
    reader.close()


def _claim(output: pathlib.Path, settings: dict) -> None:
    path = output / _SETTINGS
    output.mkdir(parents=True, exist_ok=True)
    if path.exists():
        try:
            found = dict(read_json(path, finite=False))
        except (InputError, TypeError, ValueError) as error:
            reason = error if isinstance(error, InputError) else f"{path}: not the settings of a run"
            raise shards.ShardError(f"{reason}; remove {output} and start again") from None
        different = sorted(name for name in {*found, *settings} if found.get(name) != settings.get(name))
        if different:
            raise shards.ShardError(f"{output}: holds tokens of other {', '.join(different)}; use a new folder")
        return
    shards.write_json(path, settings)


def _check_kept(source: str | os.PathLike, config: ExtractConfig, encoders: Mapping[str, str]) -> None:
    """Arrays that are kept beside the new ones may not be of another encoder that the new ones share with them."""
    kept = {name for name in ARRAYS if name not in config.arrays}
    for name, identity in Corpus([source]).encoders.items():
        shared = kept.intersection(ENCODERS[name])
        if shared and encoders.get(name, identity) != identity:
            raise OtherEncoder(
                f"{source}: its {', '.join(sorted(shared))} are of {name} {identity}, the bundle has {encoders[name]}; "
                "extract both with one bundle"
            )


def _input_fingerprint(paths: Sequence[pathlib.Path]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


class Extraction:
    """Shards of `source` and the encoder of their tokens; writes one token shard after the other.

    `encoders` identifies the weights (`weights/identity.py`) and `dtype` is what the SSL encoder computes in; neither
    may change between runs into one folder.  Records keep the identities.  Bad records are left out, counted, logged
    and listed in `<shard>.skipped.json`.
    """

    def __init__(
        self,
        source: str | os.PathLike,
        output: str | os.PathLike,
        encoder: Encoder,
        config: ExtractConfig = ExtractConfig(),
        *,
        encoders: Mapping[str, str] = MappingProxyType({}),
        dtype: str = "float32",
        threads: int = 4,
        limit: BadRecordLimit | None = None,
    ):
        self.output = pathlib.Path(output)
        self.paths = shards.find_shards([source])
        if os.path.realpath(self.output) in {os.path.realpath(path.parent) for path in self.paths}:
            raise shards.ShardError(f"{self.output}: holds the shards that are read; use a new folder")
        if len({path.name for path in self.paths}) < len(self.paths):
            raise shards.ShardError(f"{source}: two shards of one name")
        _check_kept(source, config, encoders)
        made_by = {"encoders": dict(encoders), "dtype": dtype}
        _claim(self.output, {"input": _input_fingerprint(self.paths), "config": json.loads(_as_json(config))} | made_by)
        self._encoder, self._config, self._encoders = encoder, config, encoders
        self._hear = _Degraded(source, config.degrade, config.noise) if config.degrade else _as_it_is
        self.guard = BadRecordGuard(limit or BadRecordLimit())
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)

    def __enter__(self) -> "Extraction":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def is_done(self, path: pathlib.Path) -> bool:
        return shards.index_path(self.output / path.name).exists()

    def write(self, path: pathlib.Path, advance: Callable[[float], None] = lambda seconds: None) -> int:
        """The token shard of a shard, and how many records it has; `advance` hears of seconds that are done."""
        known = len(self.guard.bad)
        skipped = self.output / f"{path.name.removesuffix(shards.SUFFIX)}.skipped.json"
        stream = _extract_shard(
            path, self._encoder, self._config, self._hear, self.guard, self._pool, advance, self._encoders
        )
        return shards.write_shard(self.output / path.name, _with_skips(stream, self.guard, known, skipped))


def extract(
    source: str | os.PathLike,
    output: str | os.PathLike,
    encoder: Encoder,
    config: ExtractConfig = ExtractConfig(),
    *,
    process_index: int = 0,
    process_count: int = 1,
    **options: Any,
) -> dict:
    """Writes the token shards of this process's share; what was done.  `options` are those of `Extraction`."""
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index is {process_index} of {process_count} processes")
    started, seconds, records = time.monotonic(), 0.0, 0
    with (
        Extraction(source, output, encoder, config, **options) as extraction,
        tqdm.tqdm(desc="extract", unit=" audio s", disable=None, mininterval=1.0) as bar,
    ):
        own = extraction.paths[process_index::process_count]
        todo = [path for path in own if not extraction.is_done(path)]

        def advance(amount: float) -> None:
            nonlocal seconds
            seconds += amount
            bar.update(round(amount, 1))

        for path in todo:
            records += extraction.write(path, advance)
    elapsed = time.monotonic() - started
    return {
        "shards": len(own),
        "done_before": len(own) - len(todo),
        "records": records,
        "skipped": dict(extraction.guard.bad),
        "audio_hours": round(seconds / 3600, 4),
        "elapsed_seconds": round(elapsed, 1),
        "audio_hours_per_hour": round(seconds / max(elapsed, 1e-9), 1),
    }


def _with_skips(stream: Iterator[Record], guard: BadRecordGuard, known: int, path: pathlib.Path) -> Iterator[Record]:
    """The stream; at its end, and so before the shard counts as complete, what it skipped is written down."""
    yield from stream
    new = dict(list(guard.bad.items())[known:])
    if new:
        shards.write_json(path, new)


def _as_json(config: ExtractConfig) -> str:
    # How many records are encoded together changes no token, nor do noises that are not used.
    left_out = {"chunk"} if config.degrade else {"chunk", "degrade", "noise"}
    return json.dumps({name: value for name, value in dataclasses.asdict(config).items() if name not in left_out})

"""What examples are made of: records read, resampled, cut and degraded, and what is said in them."""

import collections
import dataclasses
import threading
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from metis_jax.audio.waves import AudioError, fit, read_excerpt, read_wave, resample, shift_phase
from metis_jax.clock import FRAME_RATE, SSL_HOP, SSL_RATE, ssl_samples
from metis_jax.data.batches.plans import Row, rng_of
from metis_jax.data.batches.recipes import Piece
from metis_jax.data.corpus.corpus import Corpus
from metis_jax.data.corpus.records import Record, RecordError
from metis_jax.data.effects.degrade import LOUDEST_DB, DegradeConfig, check_range, degrade
from metis_jax.data.effects.mixtures import MixtureConfig
from metis_jax.data.effects.perturb import PerturbConfig, perturb

Batch = dict[str, np.ndarray]
Example = dict[str, np.ndarray]
LIPS = {"features": "visual_features", "crops": "mouth_crops"}  # and the array of a record
Phonemize = Callable[[str, str], Sequence[int]]


@dataclasses.dataclass(frozen=True)
class Spoken:
    """Phones [p], and the frames [p + 1] at which each begins and the last one ends; none where nobody knows."""

    phones: np.ndarray
    bounds: np.ndarray

    def __add__(self, other: "Spoken") -> "Spoken":
        known = len(self.bounds) and len(other.bounds)
        bounds = np.concatenate([self.bounds[:-1], other.bounds]) if known else np.zeros(0, np.float32)
        return Spoken(np.concatenate([self.phones, other.phones]), bounds)


class UnusableRecord(RecordError):
    """A record that a row needed and could not have; `record` is its index."""

    def __init__(self, record: int, reason: str):
        super().__init__(reason)
        self.record = record


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleConfig:
    """What is done to waves on their way into an example.

    Attributes:
      target: fine-tuning targets as "tokens" (the record has them) or as "wave" (the train step makes them).
      degrade: se always; tse for `degrade_mixture` of the rows, each voice in the room and the rest after mixing; the
        wave stages for `degrade_wave`.
      perturb: vc, where a record has no `source_audio`; and the wave stages for `perturb_wave` of the rows.
      gain_db: level change of the wave stages.
      random_phase: shifts the phase of all frequencies by one angle, drawn for every row of a wave stage.
      text_guided: share of se and tse rows that carry their phones too, behind those of a prompt that is a whole
        utterance.
      degraded_prompts: share of the rows of stage 2 whose prompt is heard degraded, where a record has such tokens.
      lips: what l2s sees, "features" (`visual_features` of the record) or "crops" (its `mouth_crops`).
      crop_size: pixels of a side of such a crop, cut at random out of what the record has; half of them are mirrored.
      max_phones: a record with more is skipped.
    """

    target: str = "tokens"
    degrade: DegradeConfig = DegradeConfig()
    mixture: MixtureConfig = MixtureConfig()
    perturb: PerturbConfig = PerturbConfig()
    degrade_mixture: float = 0.5
    degrade_wave: float = 0.0
    perturb_wave: float = 0.0
    gain_db: tuple[float, float] = (0.0, 0.0)
    random_phase: bool = False
    text_guided: float = 0.0
    degraded_prompts: float = 0.0
    lips: str = "features"
    crop_size: int = 88
    max_phones: int = 512

    def __post_init__(self):
        if self.target not in ("tokens", "wave"):
            raise ValueError(f"target is {self.target!r}; use tokens or wave")
        if self.lips not in LIPS:
            raise ValueError(f"lips is {self.lips!r}; use {' or '.join(LIPS)}")
        if self.crop_size < 1:
            raise ValueError(f"crop_size is {self.crop_size}; it must be positive")
        for name in ("degrade_mixture", "degrade_wave", "perturb_wave", "text_guided", "degraded_prompts"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie in [0, 1]")
        check_range("gain_db", self.gain_db, -LOUDEST_DB, LOUDEST_DB)
        if self.max_phones < 1:
            raise ValueError(f"max_phones is {self.max_phones}; it must be positive")


class Waves:
    """Records and waves by index.  `cached_seconds` of decoded audio are kept, least recently used out first."""

    def __init__(self, corpus: Corpus, cached_seconds: float = 0.0):
        self.corpus, self.cached_seconds = corpus, cached_seconds
        self._cache: collections.OrderedDict[tuple[int, int], np.ndarray] = collections.OrderedDict()
        self._held = 0.0
        self._lock = threading.Lock()

    def __getstate__(self):
        return {"corpus": self.corpus, "cached_seconds": self.cached_seconds}

    def __setstate__(self, state):
        self.__init__(**state)

    def record(self, index: int) -> Record:
        try:
            return self.corpus[index]
        except RecordError as error:
            raise UnusableRecord(index, str(error)) from error

    def decode(self, record: Record, index: int, rate: int) -> Float[np.ndarray, " l"]:
        """The whole wave of a record at `rate`."""
        with self._lock:
            if (index, rate) in self._cache:
                self._cache.move_to_end((index, rate))
                return self._cache[index, rate]
        try:
            wave, own_rate = read_wave(record.audio, record.id)
            self._check(record, own_rate, len(wave))
        except (RecordError, AudioError) as error:
            raise UnusableRecord(index, str(error)) from error
        wave = resample(wave, own_rate, rate)
        wave.flags.writeable = False
        self._keep((index, rate), wave)
        return wave

    def whole(self, index: int, rate: int) -> Float[np.ndarray, " l"]:
        return self.decode(self.record(index), index, rate)

    def excerpt(self, record: Record, index: int, rate: int, start: int, samples: int) -> Float[np.ndarray, " l"]:
        """`samples` from `start` on, at `rate`, or fewer where the recording ends; decodes little more than that."""
        end = (start + samples) / rate
        if self.cached_seconds or record.seconds < samples / rate + 1.0:
            return self.decode(record, index, rate)[start : start + samples]
        try:
            wave, own_rate, first = read_excerpt(record.audio, start / rate, samples / rate, record.id)
            self._check(record, own_rate, first + len(wave), end)
        except (RecordError, AudioError) as error:
            raise UnusableRecord(index, str(error)) from error
        offset = start - first * rate // own_rate
        return resample(wave, own_rate, rate)[offset : offset + samples]

    def array(self, record: Record, index: int, name: str) -> np.ndarray:
        if name not in record.arrays:
            raise UnusableRecord(index, f"{record.id}: no array {name}")
        return record.arrays[name]

    @staticmethod
    def _check(record: Record, rate: int, samples: int, seconds: float = float("inf")) -> None:
        """That `samples` are there of the first `seconds` of a record."""
        if rate != record.sample_rate:
            raise RecordError(f"{record.id}: audio at {rate} Hz, the record says sample_rate {record.sample_rate}")
        # A second of tolerance for codecs that count their padding; what lacks more was cut off.
        if samples < min(record.samples, seconds * rate) - rate:
            raise RecordError(f"{record.id}: {samples} samples of audio, the record says {record.samples}")

    def _keep(self, key: tuple[int, int], wave: np.ndarray) -> None:
        seconds = len(wave) / key[1]
        with self._lock:
            if seconds > self.cached_seconds or key in self._cache:
                return
            self._cache[key] = wave
            self._held += seconds
            while self._held > self.cached_seconds:
                (_, rate), dropped = self._cache.popitem(last=False)
                self._held -= len(dropped) / rate


class Material:
    """What examples are made of: records and waves, noises and rooms, other speakers, phones."""

    def __init__(
        self,
        waves: Waves,
        config: ExampleConfig,
        *,
        seed: int,
        speakers: np.ndarray,
        interferers: Sequence[np.ndarray],
        noises: np.ndarray,
        rooms: np.ndarray,
        phonemize: Phonemize | None,
    ):
        self.waves, self.config, self.seed = waves, config, seed
        # Noise and rooms come again and again: they have a cache that speech can not push them out of.
        self.recurring = Waves(waves.corpus, cached_seconds=1800.0)
        self.speakers, self.interferers = speakers, interferers
        self.noises, self.rooms = noises, rooms
        self.phonemize = phonemize

    def rng(self, row: Row) -> np.random.Generator:
        """The chance of a row: the same whenever it is asked for."""
        return rng_of(self.seed, "example", row.position, row.attempt)

    def piece(self, record: Record, piece: Piece) -> np.ndarray:
        """The samples of a piece at 16 kHz: as many as the recording has, but enough for every frame of the piece."""
        most = ssl_samples(piece.frames)
        cut = self.waves.excerpt(record, piece.record, SSL_RATE, piece.start * SSL_HOP, most)
        return cut if len(cut) >= most - SSL_HOP // 2 else fit(cut, most)

    def prompt_wave(self, record: Record, prompt: Piece) -> np.ndarray:
        """The samples of a prompt at 16 kHz: so many that the target behind it begins with a frame."""
        samples = prompt.frames * SSL_HOP
        return fit(self.waves.excerpt(record, prompt.record, SSL_RATE, prompt.start * SSL_HOP, samples), samples)

    def augmented(self, rng: np.random.Generator, wave: np.ndarray, rate: int) -> np.ndarray:
        """A wave as the config wants it: in another voice, degraded, out of phase, at another level."""
        if rng.random() < self.config.perturb_wave:
            wave = perturb(rng, wave, rate, self.config.perturb)
        if rng.random() < self.config.degrade_wave:
            wave = self.degraded(rng, wave, rate)
        if self.config.random_phase:
            wave = shift_phase(wave, rng.uniform(0, 2 * np.pi))
        return np.clip(wave * np.float32(10 ** (rng.uniform(*self.config.gain_db) / 20)), -1.0, 1.0)

    def degraded(self, rng: np.random.Generator, wave: np.ndarray | Sequence[np.ndarray], rate: int) -> np.ndarray:
        """A wave, or voices to be mixed, with recorded noise and rooms where there are some."""

        def recorded(pool: np.ndarray):
            return lambda own: self.recurring.whole(int(pool[own.integers(len(pool))]), rate)

        return degrade(
            rng,
            wave,
            rate,
            self.config.degrade,
            noise=recorded(self.noises) if len(self.noises) else None,
            room=recorded(self.rooms) if len(self.rooms) else None,
        )

    def lips(self, record: Record, piece: Piece, rng: np.random.Generator) -> np.ndarray:
        """What a camera saw of a piece, 25 times a second: features [u, d] float32, or crops [u, s, s] uint8."""
        seen = self.waves.array(record, piece.record, LIPS[self.config.lips])
        seen = seen[piece.start // 2 : piece.start // 2 + -(-piece.frames // 2)]
        if self.config.lips == "features":
            return seen.astype(np.float32)
        size, margin = self.config.crop_size, min(seen.shape[1:]) - self.config.crop_size
        if margin < 0 or seen.dtype != np.uint8:
            found = f"{seen.dtype}{list(seen.shape[1:])}"
            raise UnusableRecord(piece.record, f"{record.id}: mouth_crops are {found}; expected uint8 from {size} on")
        top, left = rng.integers(margin + 1, size=2)
        crops = seen[:, top : top + size, left : left + size]
        return crops[:, :, ::-1] if rng.random() < 0.5 else crops

    def interferer(self, row: Row, rng: np.random.Generator) -> np.ndarray:
        """A recording of another speaker, at 16 kHz."""
        pool, speaker = self.interferers[row.part], self.speakers[row.recipe.target.record]
        index = int(pool[rng.integers(len(pool))])
        while self.speakers[index] == speaker:
            index = int(pool[rng.integers(len(pool))])
        return self.waves.whole(index, SSL_RATE)

    def spoken(self, record: Record, piece: Piece, start: int) -> "Spoken":
        """What a whole recording says, when it begins at frame `start` of the example."""
        phones, bounds = self._phones(record, piece.record), record.arrays.get("phone_bounds")
        if bounds is None:
            return Spoken(phones, np.zeros(0, np.float32))
        if len(bounds) != len(phones) + 1:
            raise UnusableRecord(
                piece.record, f"{record.id}: {len(bounds)} phone_bounds for {len(phones)} phones; expected one more"
            )
        return Spoken(phones, bounds * np.float32(FRAME_RATE) + np.float32(start))

    def _phones(self, record: Record, index: int) -> np.ndarray:
        if "phones" in record.arrays:
            phones = record.arrays["phones"].astype(np.int32)
        else:
            try:
                phones = np.asarray(self.phonemize(record.text, record.language), np.int32)
            except Exception as error:  # a front end over six languages fails in more ways than can be listed here
                raise UnusableRecord(index, f"{record.id}: phonemes: {error}") from error
        if not 0 < len(phones) <= self.config.max_phones:
            raise UnusableRecord(
                index, f"{record.id}: {len(phones)} phones; the pipeline takes 1 to max_phones {self.config.max_phones}"
            )
        return phones

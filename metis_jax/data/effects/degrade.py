"""Seeded degradations of a clean wave: what speech enhancement learns to undo.

Every function takes its own `numpy` generator and keeps the length and the alignment of the wave, so that the tokens of
the clean wave stay the right target frame by frame.  `degrade` applies them in the order in which a recording meets
them: room, noise, level, clipping, band, codec, packets.
"""

import dataclasses
import io
from collections.abc import Callable

import numpy as np
import scipy.signal
import soundfile
from jaxtyping import Float

from metis_jax.audio.waves import fit, resample, rms, write_in_pieces

Range = tuple[float | int, float | int]
Rng = np.random.Generator
Recorded = Callable[[Rng], Float[np.ndarray, " _"]]  # one noise, or one room response, out of many

# name: container, subtype, rate it runs at, range of libsndfile's compression level (None: the codec has none).
# Opus runs at 7 to 36 kb/s, Vorbis at 27 to 48.  MP3 is left out: libsndfile does not take its delay off.
CODECS: dict[str, tuple[str, str, int, Range | None]] = {
    "opus": ("OGG", "OPUS", 16_000, (0.88, 1.0)),
    "vorbis": ("OGG", "VORBIS", 16_000, (0.5, 1.0)),
    "gsm": ("WAV", "GSM610", 8_000, None),
    "ulaw": ("WAV", "ULAW", 8_000, None),
    "adpcm": ("WAV", "IMA_ADPCM", 8_000, None),
}


LOUDEST_DB = 120.0  # either way


def check_probability(section: str, value: float, field: str = "probability") -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{section}.{field} is {value}; it must lie in [0, 1]")


def check_range(name: str, value: Range, low: float | int, high: float | int) -> None:
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise ValueError(f"{name} is {tuple(value)}; expected (low, high) with {low} <= low <= high <= {high}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Additive noise: recorded where the corpus has some, coloured and synthetic for `synthetic` of the draws."""

    probability: float = 0.9
    snr_db: Range = (-5.0, 20.0)
    synthetic: float = 0.1
    color: Range = (0.0, 2.0)  # power falls as 1 / f^color: 0 white, 1 pink, 2 brown

    def __post_init__(self):
        check_probability("noise", self.probability)
        check_probability("noise", self.synthetic, "synthetic")
        check_range("noise.snr_db", self.snr_db, -LOUDEST_DB, LOUDEST_DB)
        check_range("noise.color", self.color, -10.0, 10.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoomConfig:
    """Convolution with a measured response; with a simulated one for `simulated` of the draws, or if none is there."""

    probability: float = 0.5
    simulated: float = 0.5
    rt60: Range = (0.15, 0.9)  # seconds
    direct_db: Range = (-3.0, 12.0)  # energy of the direct sound over that of the tail
    first_reflection: Range = (0.001, 0.012)  # seconds after the direct sound

    def __post_init__(self):
        check_probability("room", self.probability)
        check_probability("room", self.simulated, "simulated")
        check_range("room.rt60", self.rt60, 1e-3, 20.0)
        check_range("room.direct_db", self.direct_db, -LOUDEST_DB, LOUDEST_DB)
        check_range("room.first_reflection", self.first_reflection, 0.0, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Hard clipping at a threshold below the peak."""

    probability: float = 0.2
    below_peak_db: Range = (1.0, 15.0)

    def __post_init__(self):
        check_probability("clip", self.probability)
        check_range("clip.below_peak_db", self.below_peak_db, 0.0, LOUDEST_DB)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BandConfig:
    """Low-pass, and for `high_pass` of the draws a telephone-like high-pass too; zero phase."""

    probability: float = 0.2
    cutoff_hz: Range = (1500.0, 7000.0)
    high_pass: float = 0.3
    high_pass_hz: Range = (80.0, 400.0)
    order: tuple[int, int] = (2, 8)

    def __post_init__(self):
        check_probability("band", self.probability)
        check_probability("band", self.high_pass, "high_pass")
        check_range("band.cutoff_hz", self.cutoff_hz, 1.0, 1e6)
        check_range("band.high_pass_hz", self.high_pass_hz, 1.0, 1e6)
        check_range("band.order", self.order, 1, 20)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """A round trip through a real codec of libsndfile; every name in `kinds` is as likely as the others."""

    probability: float = 0.1
    kinds: tuple[str, ...] = ("opus", "vorbis", "gsm", "ulaw", "adpcm")

    def __post_init__(self):
        check_probability("codec", self.probability)
        unknown = sorted(set(self.kinds) - set(CODECS))
        if unknown or not self.kinds:
            raise ValueError(f"codec.kinds is {self.kinds}; use some of {', '.join(CODECS)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PacketConfig:
    """Packets lost in bursts, each replaced by silence or by a fading repeat of the last one heard."""

    probability: float = 0.1
    loss: Range = (0.02, 0.2)
    packet_seconds: float = 0.02
    burst: float = 2.0  # mean packets lost in a row
    concealed: float = 0.5

    def __post_init__(self):
        check_probability("packets", self.probability)
        check_range("packets.loss", self.loss, 0.0, 0.9)
        check_probability("packets", self.concealed, "concealed")
        check_range("packets.burst", (1.0, self.burst), 1.0, 1e4)
        check_range("packets.packet_seconds", (1e-3, self.packet_seconds), 1e-3, 10.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DegradeConfig:
    """All degradations; each is drawn on its own."""

    room: RoomConfig = RoomConfig()
    noise: NoiseConfig = NoiseConfig()
    gain_db: Range = (-12.0, 6.0)
    clip: ClipConfig = ClipConfig()
    band: BandConfig = BandConfig()
    codec: CodecConfig = CodecConfig()
    packets: PacketConfig = PacketConfig()

    def __post_init__(self):
        check_range("gain_db", self.gain_db, -LOUDEST_DB, LOUDEST_DB)


def colored_noise(rng: Rng, samples: int, color: float) -> Float[np.ndarray, " l"]:
    """Gaussian noise of unit RMS whose power falls as 1 / f^color."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.arange(len(spectrum), dtype=np.float64)
    frequency[0] = 1.0
    noise = np.fft.irfft(spectrum * frequency ** (-color / 2), samples)
    return (noise / max(rms(noise), 1e-12)).astype(np.float32)


def loop_to(rng: Rng, wave: Float[np.ndarray, " l"], samples: int) -> Float[np.ndarray, " k"]:
    """A random stretch of `samples`; a shorter wave is repeated from a random phase."""
    if len(wave) > samples:
        start = int(rng.integers(len(wave) - samples + 1))
        return wave[start : start + samples]
    repeats = -(-samples // len(wave)) + 1
    start = int(rng.integers(len(wave)))
    return np.tile(wave, repeats)[start : start + samples]


def add_at_snr(wave: Float[np.ndarray, " l"], noise: Float[np.ndarray, " l"], snr_db: float) -> Float[np.ndarray, " l"]:
    """`wave` plus `noise` scaled so that their RMS levels differ by `snr_db`; if either is silent, the wave."""
    level, floor = rms(wave), rms(noise)
    if level == 0 or floor == 0:
        return wave
    return (wave + noise * np.float32(level / floor * 10 ** (-snr_db / 20))).astype(np.float32)


def simulated_room(rng: Rng, rt60: float, config: RoomConfig, rate: int) -> Float[np.ndarray, " k"]:
    """A direct sound and an exponentially decaying Gaussian tail that starts sparse (Polack's model)."""
    start = max(1, int(rng.uniform(*config.first_reflection) * rate))
    time = np.arange(max(int(rt60 * rate), start + 1)) / rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    # Echo density grows with the square of time: single reflections first, a dense field after some 40 ms.
    tail *= rng.random(len(time)) < np.minimum(1.0, (time / 0.04) ** 2 + 0.01)
    tail[:start] = 0.0
    energy = np.sum(tail**2)
    if energy > 0:
        tail *= np.sqrt(10 ** (-rng.uniform(*config.direct_db) / 10) / energy)
    tail[0] = 1.0
    return tail.astype(np.float32)


def convolve_room(wave: Float[np.ndarray, " l"], response: Float[np.ndarray, " k"]) -> Float[np.ndarray, " l"]:
    """Convolution that puts the direct sound (the response's peak) at delay zero and keeps the wave's RMS."""
    response = response[int(np.argmax(np.abs(response))) :]
    wet = scipy.signal.oaconvolve(wave, response)[: len(wave)]
    return (wet * (rms(wave) / max(rms(wet), 1e-12))).astype(np.float32)


def in_a_room(
    rng: Rng, voices: Float[np.ndarray, "n l"], config: RoomConfig, rate: int, measured: Recorded | None
) -> Float[np.ndarray, "n l"]:
    """Every voice at a place of its own, with its own response: of one simulated room, or of the `measured` ones."""
    if measured is None or rng.random() < config.simulated:
        rt60 = rng.uniform(*config.rt60)
        responses = [simulated_room(rng, rt60, config, rate) for _ in voices]
    else:
        responses = [measured(rng) for _ in voices]
    return np.stack([convolve_room(voice, response) for voice, response in zip(voices, responses, strict=True)])


def clip(wave: Float[np.ndarray, " l"], below_peak_db: float) -> Float[np.ndarray, " l"]:
    threshold = np.float32(np.max(np.abs(wave), initial=0.0) * 10 ** (-below_peak_db / 20))
    return np.clip(wave, -threshold, threshold)


def limit_band(rng: Rng, wave: Float[np.ndarray, " l"], config: BandConfig, rate: int) -> Float[np.ndarray, " l"]:
    """Butterworth filters run forwards and backwards, so that nothing is delayed."""
    # Forward and backward: half the order each, so the drawn order is the one that is heard.
    order = max(1, int(rng.integers(config.order[0], config.order[1] + 1)) // 2)
    cutoff = min(rng.uniform(*config.cutoff_hz), 0.49 * rate)
    sections = [scipy.signal.butter(order, cutoff, "lowpass", fs=rate, output="sos")]
    if rng.random() < config.high_pass:
        low = min(rng.uniform(*config.high_pass_hz), 0.5 * cutoff)
        sections.append(scipy.signal.butter(order, low, "highpass", fs=rate, output="sos"))
    return scipy.signal.sosfiltfilt(np.concatenate(sections), wave, padtype=None).astype(np.float32)


def codec_round_trip(rng: Rng, wave: Float[np.ndarray, " l"], kind: str, rate: int) -> Float[np.ndarray, " l"]:
    """Encodes and decodes in memory.  Levels above full scale are scaled down for the codec and back after it."""
    container, subtype, codec_rate, levels = CODECS[kind]
    scale = np.float32(max(1.0, 1.02 * float(np.max(np.abs(wave), initial=0.0))))
    options = {} if levels is None else {"compression_level": float(rng.uniform(*levels))}
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", codec_rate, 1, subtype, format=container, **options) as file:
        write_in_pieces(file, resample(wave / scale, rate, codec_rate))
    buffer.seek(0)
    decoded, decoded_rate = soundfile.read(buffer, dtype="float32")
    return fit(resample(decoded, decoded_rate, rate), len(wave)) * scale


def lost_packets(rng: Rng, count: int, loss: float, burst: float) -> np.ndarray:
    """Which of `count` packets are lost: a Gilbert chain whose long-run share is `loss`, in runs of mean `burst`."""
    recover = 1.0 / burst
    fail = min(1.0, recover * loss / max(1.0 - loss, 1e-9))
    draws = rng.random(count)
    lost = np.zeros(count, bool)
    state = bool(rng.random() < loss)
    for index in range(count):
        lost[index] = state
        state = bool(draws[index] >= recover) if state else bool(draws[index] < fail)
    return lost


def drop_packets(rng: Rng, wave: Float[np.ndarray, " l"], config: PacketConfig, rate: int) -> Float[np.ndarray, " l"]:
    size = max(1, round(config.packet_seconds * rate))
    lost = lost_packets(rng, -(-len(wave) // size), rng.uniform(*config.loss), config.burst)
    conceal = rng.random() < config.concealed
    out = wave.copy()
    heard, gain = np.zeros(size, np.float32), 1.0
    for index, is_lost in enumerate(lost):
        packet = out[index * size : (index + 1) * size]
        if is_lost:
            gain *= 0.5
            packet[:] = heard[: len(packet)] * np.float32(gain) if conceal else np.float32(0)
        else:
            heard, gain = wave[index * size : (index + 1) * size], 1.0
    return out


def degrade(
    rng: Rng,
    wave: Float[np.ndarray, "*n l"],
    rate: int,
    config: DegradeConfig,
    *,
    noise: Recorded | None = None,
    room: Recorded | None = None,
) -> Float[np.ndarray, " l"]:
    """The wave as a worse microphone, room and line would give it; never longer, shorter or shifted.

    Voices [n, l] each have a place in the room; all else befalls their sum.  `noise` and `room` give recorded noises
    and room responses at `rate`; None where the corpus has none.
    """
    voices, samples = np.atleast_2d(wave), wave.shape[-1]
    # One generator per degradation: changing the range of one leaves the draws of the others as they were.
    draws = dict(zip(("room", "noise", "gain", "clip", "band", "codec", "packets"), rng.spawn(7), strict=True))
    if draws["room"].random() < config.room.probability:
        voices = in_a_room(draws["room"], voices, config.room, rate, room)
    wave = np.sum(voices, axis=0)
    if draws["noise"].random() < config.noise.probability:
        own = draws["noise"]
        synthetic = own.random() < config.noise.synthetic or noise is None
        added = (
            colored_noise(own, samples, own.uniform(*config.noise.color))
            if synthetic
            else loop_to(own, noise(own), samples)
        )
        wave = add_at_snr(wave, added, own.uniform(*config.noise.snr_db))
    wave = wave * np.float32(10 ** (draws["gain"].uniform(*config.gain_db) / 20))
    if draws["clip"].random() < config.clip.probability:
        wave = clip(wave, draws["clip"].uniform(*config.clip.below_peak_db))
    if draws["band"].random() < config.band.probability:
        wave = limit_band(draws["band"], wave, config.band, rate)
    if draws["codec"].random() < config.codec.probability:
        own = draws["codec"]
        wave = codec_round_trip(own, wave, config.codec.kinds[int(own.integers(len(config.codec.kinds)))], rate)
    if draws["packets"].random() < config.packets.probability:
        wave = drop_packets(draws["packets"], wave, config.packets, rate)
    return np.clip(wave, -1.0, 1.0).astype(np.float32)

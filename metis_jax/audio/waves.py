"""Compressed bytes to mono float32 waves, and what is done to waves."""

import io
import math

import numpy as np
import soundfile
import soxr
from jaxtyping import Float, Int

from metis_jax.audio.recordings import Forward, SoundError, open_recording

SILENCE = 1e-4  # peak, -80 dB
_WRITTEN_AT_ONCE = 2**15  # samples


class AudioError(ValueError):
    """Audio that can not be used; one line that begins with its name."""


def read_wave(data: bytes, name: str = "audio") -> tuple[Float[np.ndarray, " l"], int]:
    """The mono wave in compressed bytes, channels averaged, and its sample rate.

    AudioError for what is damaged, or shorter than its header tells: a text of it would say more.
    """
    blocks, loudest = [np.zeros(0, np.float32)], 0.0
    try:
        with open_recording(data) as sound:
            for block in sound.blocks():
                blocks.append(_mono(block, name))
                loudest = max(loudest, float(np.abs(block).max()))
            if shortfall := sound.shortfall():
                raise AudioError(f"{name}: {shortfall}")
    except SoundError as error:
        raise AudioError(f"{name}: {error}") from error
    wave = np.concatenate(blocks)
    if np.abs(wave).max(initial=0.0) < SILENCE <= loudest:
        raise AudioError(f"{name}: its channels cancel when they are averaged; give one of them")
    return wave, sound.rate


def read_excerpt(
    data: bytes, start: float, seconds: float, name: str = "audio"
) -> tuple[Float[np.ndarray, " l"], int, int]:
    """About `seconds` from `start` on, decoding little more: the wave, its rate, and its first sample's place.

    A quarter of a second on either side is kept for the resampler and for codecs that need to settle.  The first sample
    lies where it is a whole number of samples at 16 and 24 kHz too.
    """
    try:
        with Forward(io.BytesIO(data)) as sound:
            rate = sound.samplerate
            grid = rate // math.gcd(rate, 100)
            first = min(int(max(0.0, start - 0.25) * rate), max(0, sound.frames - 1)) // grid * grid
            sound.seek(first)
            count = min(int((start + seconds + 0.25) * rate), sound.frames) - first
            wave = sound.read(max(count, 0), dtype="float32", always_2d=True)
    except Exception as error:  # soundfile has another kind of exception for every kind of fault
        raise AudioError(f"{name}: libsndfile can not read it: {error}") from error
    return _mono(wave, name), rate, first


def _mono(wave: Float[np.ndarray, "l c"], name: str) -> Float[np.ndarray, " l"]:
    mono = wave[:, 0] if wave.shape[1] == 1 else wave.mean(axis=1)
    if not np.isfinite(mono).all():
        raise AudioError(f"{name}: samples that are not finite")
    return mono


def write_flac(wave: Float[np.ndarray, " l"], rate: int) -> bytes:
    """16-bit FLAC bytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1.0, 1.0), rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def write_in_pieces(file: soundfile.SoundFile, wave: Float[np.ndarray, " l"]) -> None:
    """Writes a wave that may be long: libvorbis puts all that it is given at once on the stack."""
    for start in range(0, len(wave), _WRITTEN_AT_ONCE):
        file.write(wave[start : start + _WRITTEN_AT_ONCE])


def resample(wave: Float[np.ndarray, " l"], rate: int, target: int) -> Float[np.ndarray, " k"]:
    """The wave at another rate (soxr, high quality)."""
    if rate == target or not len(wave):
        return wave
    return soxr.resample(wave, rate, target).astype(np.float32, copy=False)


def resampled_length(samples: Int[np.ndarray, " n"], rate: Int[np.ndarray, " n"], target: int) -> Int[np.ndarray, " n"]:
    """Samples that recordings of `samples` at `rate` fill at `target`: planned before any audio is read."""
    return samples * target // rate


def fit(wave: Float[np.ndarray, " l"], samples: int) -> Float[np.ndarray, " k"]:
    """The wave cut, or padded with zeros at the right, to `samples`."""
    if len(wave) >= samples:
        return wave[:samples]
    return np.pad(wave, (0, samples - len(wave)))


def shift_phase(wave: Float[np.ndarray, " l"], angle: float) -> Float[np.ndarray, " l"]:
    """Every frequency ahead by `angle`; pi turns the wave over.  As long and as loud as before."""
    return np.fft.irfft(np.fft.rfft(wave) * np.exp(1j * angle), len(wave)).astype(np.float32)


def rms(wave: Float[np.ndarray, " l"]) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))) if len(wave) else 0.0

"""A voice moved to another pitch, with other formants."""

import functools

import numpy as np
import scipy.fft
import soxr
from jaxtyping import Complex64, Float

from metis_jax.audio.waves import fit

_WINDOW = 0.064  # seconds


@functools.lru_cache
def _window(size: int) -> Float[np.ndarray, " w"]:
    """A periodic Hann window.  (`scipy.signal` has it, whose import takes a third of that of all inference.)"""
    return np.hanning(size + 1)[:-1].astype(np.float32)


@functools.lru_cache
def _cepstral_sums(bins: int, coefficients: int) -> Float[np.ndarray, "f k"]:
    """Log spectrum to its first cepstral coefficients: the cosine transform of an even spectrum, as a matrix."""
    angle = np.pi * np.arange(bins)[:, None] / (bins - 1) * np.arange(coefficients)[None]
    sums = np.cos(angle) * 2 / (bins - 1)
    sums[[0, -1]] /= 2
    sums[:, 0] /= 2
    return sums.astype(np.float32)


def _spectra(wave: Float[np.ndarray, " l"], size: int) -> Complex64[np.ndarray, "t f"]:
    """Short-time spectra at every quarter of a window, the first centred on the first sample."""
    padded = np.pad(wave.astype(np.float32, copy=False), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 4]
    return scipy.fft.rfft(frames * _window(size)[None], axis=1)


def _wave(spectra: Complex64[np.ndarray, "t f"], size: int) -> Float[np.ndarray, " l"]:
    """The wave of (changed) short-time spectra: overlap and add, least squares."""
    window = _window(size)
    frames = scipy.fft.irfft(spectra, size, axis=1) * window[None]
    count, hop = len(frames), size // 4
    out, weight = np.zeros((count + 3, hop), np.float32), np.zeros((count + 3, hop), np.float32)
    for quarter in range(4):
        part = slice(quarter * hop, (quarter + 1) * hop)
        out[quarter : quarter + count] += frames[:, part]
        weight[quarter : quarter + count] += np.square(window[part])[None]
    return (out / np.maximum(weight, 1e-6)).reshape(-1)[size // 2 :]


def _stretch(spectra: Complex64[np.ndarray, "t f"], factor: float) -> Complex64[np.ndarray, "u f"]:
    """Spectra of the same sound lasting `factor` times as long: a phase vocoder.

    A bin turns between two frames of the result as far as it did between the frames beside that moment.  Turns are kept
    as unit complex numbers, which need no arctangent and no unwrapping.
    """
    at = np.arange(0.0, len(spectra), 1.0 / factor)
    left, part = at.astype(int), (at % 1.0).astype(np.float32)[:, None]
    magnitude = np.abs(spectra)
    unit = np.where(magnitude > 1e-12, spectra / np.maximum(magnitude, 1e-12), np.complex64(1))
    # Behind the last frame there is nothing to hear, and no turn.
    magnitude = np.pad(magnitude, ((0, 1), (0, 0)))
    turns = np.pad(unit[1:] * unit[:-1].conj(), ((0, 1), (0, 0)), constant_values=1)
    phases = np.empty((len(at), spectra.shape[1]), np.complex64)
    phases[0] = unit[0]
    for index in range(1, len(at)):
        np.multiply(phases[index - 1], turns[left[index - 1]], out=phases[index])
    return phases * (magnitude[left] * (1 - part) + magnitude[left + 1] * part)


def move_voice(
    wave: Float[np.ndarray, " l"],
    rate: int,
    gain_db: Float[np.ndarray, " p"],
    *,
    pitch_ratio: float = 1.0,
    formant_ratio: float = 1.0,
) -> Float[np.ndarray, " l"]:
    """Moves pitch and formants by a ratio each; gains apply at log-spaced frequencies from 60 Hz to half the rate.

    One pass: the spectrum is shaped, stretched in time and resampled to the old length, which moves all of it by
    `pitch_ratio`; so what is to be heard at a frequency is shaped where it comes from.
    """
    size = 1024 if rate <= 24_000 else 2048
    spectra = _spectra(wave, size)
    last = size // 2
    heard = np.arange(last + 1) * pitch_ratio  # the bin that a bin ends up at
    # 2 ms of cepstrum: wider than any formant, shorter than the period of a 500 Hz voice.
    sums = _cepstral_sums(last + 1, max(8, round(0.002 * rate)))
    order = np.arange(sums.shape[1])[:, None] * (np.pi / last)
    moved = np.cos(order * np.minimum(heard / formant_ratio, last)[None]) - np.cos(order * np.arange(last + 1)[None])
    change = np.log(np.abs(spectra) + np.float32(1e-5)) @ sums @ moved.astype(np.float32)
    frequency = np.maximum(heard * rate / size, 1.0)
    points = np.geomspace(60.0, rate / 2, len(gain_db))
    gain = np.interp(np.log(frequency), np.log(points), gain_db) * (np.log(10) / 20)
    # A hole in the envelope must not become a 60 dB peak.
    spectra *= np.exp(np.clip(change, -4.0, 4.0) + gain.astype(np.float32)[None])
    if pitch_ratio == 1.0:
        return fit(_wave(spectra, size), len(wave))
    stretched = _wave(_stretch(spectra, pitch_ratio), size)
    return fit(soxr.resample(stretched, pitch_ratio * rate, rate), len(wave))

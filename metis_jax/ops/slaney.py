"""Slaney's mel scale, even up to 1 kHz and logarithmic above, and his filters; equal to librosa's to the bit."""

import numpy as np

from metis_jax.types import Float

_HERTZ_PER_MEL = 200.0 / 3
_BREAK_HERTZ = 1000.0
_BREAK_MEL = _BREAK_HERTZ / _HERTZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def hertz_to_mel(hertz: Float[np.ndarray, " f"]) -> Float[np.ndarray, " f"]:
    above = _BREAK_MEL + np.log(np.maximum(hertz, _BREAK_HERTZ) / _BREAK_HERTZ) / _LOG_STEP
    return np.where(hertz >= _BREAK_HERTZ, above, hertz / _HERTZ_PER_MEL)


def mel_to_hertz(mel: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    above = _BREAK_HERTZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel >= _BREAK_MEL, above, _HERTZ_PER_MEL * mel)


def triangles(sample_rate: int, n_fft: int, bins: int) -> Float[np.ndarray, "m f"]:
    """Filters of equal area over the FFT bins, from 0 Hz to half the rate; narrow ones may be empty."""
    ends = hertz_to_mel(np.array([0.0, sample_rate / 2]))
    edges = mel_to_hertz(np.linspace(ends[0], ends[1], bins + 2))
    ramps = np.subtract.outer(edges, np.fft.rfftfreq(n_fft, 1 / sample_rate))
    widths = np.diff(edges)[:, None]
    weights = np.maximum(0, np.minimum(-ramps[:-2] / widths[:-1], ramps[2:] / widths[1:])).astype(np.float32)
    weights *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return weights

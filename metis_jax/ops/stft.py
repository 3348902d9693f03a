"""Framing, short-time Fourier transforms with "same" padding, and the codec's mel spectrogram; always float32.

"Same" padding as in Vocos (arXiv 2306.00814): `length / hop` frames, (width - hop) / 2 samples of context at each side.
The library transforms pad by half a window or not at all; and torch's inverse refuses windows whose envelope vanishes
at the edges, which here are trimmed.  Reference: `ISTFT` in `models/codec/amphion_codec/vocos.py`, matched to 1e-5
relative.

Frames are cut and added by reshapes and shifted slices.  A gather (or its transpose, a scatter) is slower everywhere.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex

from metis_jax.ops.lengths import valid_mask
from metis_jax.ops.slaney import triangles
from metis_jax.types import Array, Float, Int


def hann_window(width: int) -> np.ndarray:
    """The periodic Hann window, drawn in float64 and rounded once."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)).astype(np.float32)


def frame(x: Float[Array, "b l"], width: int, hop: int) -> Float[Array, "b t k"]:
    """All windows of `width` samples that fit, every `hop` samples."""
    t = max((x.shape[1] - width) // hop + 1, 0)
    # A frame is a few hops in a row, the last of them cut: few slices, whatever the sizes have in common.
    count = -(-width // hop)
    hops = max(t - 1, 0) + count
    x = jnp.pad(x[:, : hops * hop], ((0, 0), (0, max(hops * hop - x.shape[1], 0))))
    blocks = x.reshape(x.shape[0], hops, hop)
    return jnp.concatenate([blocks[:, start : start + t] for start in range(count)], axis=-1)[:, :, :width]


def overlap_add(frames: Float[Array, "b t k"], hop: int) -> Float[Array, "b l"]:
    """The transpose of `frame`: frames laid `hop` samples apart and summed."""
    b, t, width = frames.shape
    count = -(-width // hop)
    segments = jnp.pad(frames, ((0, 0), (0, 0), (0, count * hop - width))).reshape(b, t, count, hop)
    total = sum(jnp.pad(segments[:, :, shift], ((0, 0), (shift, count - 1 - shift), (0, 0))) for shift in range(count))
    return total.reshape(b, -1)[:, : (t - 1) * hop + width]


def stft_frames(samples: Int[Array, " b"], hop: int) -> Int[Array, " b"]:
    """Frames of `stft` that hold samples of a wave: the last one may be partly padding."""
    return -(-samples // hop)


def stft(wave: Float[Array, "b l"], window: Float[Array | np.ndarray, " k"], hop: int) -> Complex[Array, "b t f"]:
    """Spectra of ceil(l / hop) frames.

    Both sides are extended by zeros (the usual reflection would make the last frames depend on a batch's padding).
    """
    width = window.shape[0]
    t = -(-wave.shape[1] // hop)
    left = (width - hop) // 2
    right = (t - 1) * hop + width - left - wave.shape[1]
    frames = frame(jnp.pad(wave.astype(jnp.float32), ((0, 0), (left, right))), width, hop)
    return jnp.fft.rfft(frames * jnp.asarray(window)[None, None, :], axis=-1)


def istft(
    spectrum: Complex[Array, "b t f"], window: Float[Array | np.ndarray, " k"], hop: int, lengths: Int[Array, " b"]
) -> Float[Array, "b l"]:
    """The wave of `t * hop` samples whose windowed frames are closest to `spectrum`.

    Frames at or beyond `lengths` count neither in the sum nor in the window envelope it is divided by, so a row's last
    samples are those it would have alone.
    """
    window = jnp.asarray(window)
    t, width = spectrum.shape[1], window.shape[0]
    is_valid = valid_mask(lengths, t)[:, :, None]
    frames = jnp.fft.irfft(spectrum, n=width, axis=-1) * window[None, None, :]
    total = overlap_add(jnp.where(is_valid, frames, jnp.float32(0)), hop)
    envelope = overlap_add(jnp.where(is_valid, jnp.square(window)[None, None, :], jnp.float32(0)), hop)
    trim = (width - hop) // 2
    total, envelope = total[:, trim : trim + t * hop], envelope[:, trim : trim + t * hop]
    return total / jnp.where(envelope > jnp.float32(1e-11), envelope, jnp.float32(1))


@functools.cache
def mel_filters(sample_rate: int, n_fft: int, mel_bins: int) -> np.ndarray:
    """Slaney's triangular filters over the FFT bins, [n_fft // 2 + 1, m]."""
    return np.ascontiguousarray(triangles(sample_rate, n_fft, mel_bins).T)


def log_mel_magnitude(
    wave: Float[Array, "b l"], *, sample_rate: int, width: int, mel_bins: int, floor: float = 1e-5
) -> Float[Array, "b t m"]:
    """log10 of mel-filtered magnitudes, windows of `width` samples every quarter of it (DAC section 3.4)."""
    magnitude = jnp.abs(stft(wave, hann_window(width), width // 4))
    filters = jnp.asarray(mel_filters(sample_rate, width, mel_bins))
    mel = jnp.matmul(magnitude, filters, precision=jax.lax.Precision.HIGHEST)
    return jnp.log10(jnp.maximum(mel, jnp.float32(floor)))

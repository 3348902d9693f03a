"""Log-mel front end of w2v-BERT 2.0: 16 kHz waves to normalised 50 Hz features, in float32 and inside `jit`.

Computes what `SeamlessM4TFeatureExtractor` of transformers computes: Kaldi filter banks (frames 400/160 at the scale of
16-bit integers, DC removed, pre-emphasis, Povey window, FFT 512, power, 80 bins), normalised per bin over the valid
frames of each row, two frames stacked to one.  The extractor works in float64; this agrees to 1e-5 relative.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.clock import SSL_RATE
from metis_jax.ops.lengths import valid_mask
from metis_jax.ops.stft import frame
from metis_jax.types import Array, Float, Int

WIDTH = 400
HOP = 160
N_FFT = 512
STACK = 2
LOWEST_HERTZ = 20.0
PRE_EMPHASIS = 0.97
FLOOR = 1.192092955078125e-07
VARIANCE_FLOOR = 1e-7
PADDING = 1.0


def log_mel_frames(samples: Int[Array, " b"]) -> Int[Array, " b"]:
    """Whole 10 ms frames in a wave, before stacking."""
    return jnp.maximum(samples - (WIDTH - HOP), 0) // HOP


def attended_lengths(samples: Int[Array, " b"]) -> Int[Array, " b"]:
    """Stacked frames of which both halves exist: the ones that other frames may attend to."""
    return log_mel_frames(samples) // STACK


def emitted_lengths(samples: Int[Array, " b"]) -> Int[Array, " b"]:
    """Stacked frames for which the reference keeps a hidden state.

    With an odd frame count that is one more than `attended_lengths`: the last stack is half padding, no frame attends
    to it, and it still becomes an SSL token.
    """
    return -(-log_mel_frames(samples) // STACK)


def _mel(hertz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(hertz / 700.0)


@functools.cache
def kaldi_filters(mel_bins: int) -> np.ndarray:
    """Triangles in mel space over the FFT bins, [n_fft // 2 + 1, m]; drawn in float64, kept in float32."""
    edges = np.linspace(*_mel(np.array([LOWEST_HERTZ, SSL_RATE / 2])), mel_bins + 2)
    bins = _mel(np.arange(N_FFT // 2 + 1) * (SSL_RATE / N_FFT))[:, None]
    rising = (bins - edges[None, :-2]) / np.diff(edges)[None, :-1]
    falling = (edges[None, 2:] - bins) / np.diff(edges)[None, 1:]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


@functools.cache
def _povey_window() -> np.ndarray:
    return (np.hanning(WIDTH) ** 0.85).astype(np.float32)


def _filter_banks(wave: Float[Array, "b l"], mel_bins: int) -> Float[Array, "b t m"]:
    frames = frame(wave.astype(jnp.float32) * jnp.float32(2**15), WIDTH, HOP)
    frames = frames - jnp.mean(frames, axis=-1, keepdims=True)
    # Kaldi takes the sample before the first to be the first itself.
    before = jnp.concatenate([frames[:, :, :1], frames[:, :, :-1]], axis=-1)
    frames = (frames - jnp.float32(PRE_EMPHASIS) * before) * _povey_window()[None, None, :]
    spectrum = jnp.fft.rfft(frames, n=N_FFT, axis=-1)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    # Accelerators would otherwise multiply float32 matrices in reduced precision.
    energy = jnp.matmul(power, jnp.asarray(kaldi_filters(mel_bins)), precision=jax.lax.Precision.HIGHEST)
    return jnp.log(jnp.maximum(energy, jnp.float32(FLOOR)))


def _normalize(x: Float[Array, "b t m"], lengths: Int[Array, " b"]) -> Float[Array, "b t m"]:
    """Zero mean and unit variance (n - 1) of every bin over the first `lengths` frames; padding becomes PADDING."""
    is_valid = valid_mask(lengths, x.shape[1])[:, :, None]
    count = jnp.maximum(lengths, 1).astype(jnp.float32)[:, None, None]
    mean = jnp.sum(jnp.where(is_valid, x, jnp.float32(0)), axis=1, keepdims=True) / count
    x = jnp.where(is_valid, x - mean, jnp.float32(0))
    variance = jnp.sum(jnp.square(x), axis=1, keepdims=True) / jnp.maximum(count - jnp.float32(1), jnp.float32(1))
    return jnp.where(is_valid, x * jax.lax.rsqrt(variance + jnp.float32(VARIANCE_FLOOR)), jnp.float32(PADDING))


def log_mel(
    wave: Float[Array, "b l"], lengths: Int[Array, " b"], *, mel_bins: int = 80
) -> tuple[Float[Array, "b t c"], Int[Array, " b"]]:
    """Stacked features [b, t, 2 * mel_bins] of right-padded 16 kHz waves, and `attended_lengths(lengths)`.

    The features of padding do not depend on the wave there, and the half-padded last stack of an odd frame count is the
    reference's, so a caller that wants every hidden state of the reference keeps `emitted_lengths(lengths)` frames.
    """
    if wave.shape[1] < WIDTH:
        raise ValueError(f"wave has {wave.shape[1]} samples; pad it to at least one frame of {WIDTH}")
    x = _normalize(_filter_banks(wave, mel_bins), log_mel_frames(lengths))
    b, t, m = x.shape
    x = jnp.pad(x, ((0, 0), (0, -t % STACK), (0, 0)), constant_values=PADDING)
    return x.reshape(b, -1, STACK * m), attended_lengths(lengths)

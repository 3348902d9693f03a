"""Log-mel front end of Whisper (arXiv 2212.04356 section 2.2): 16 kHz waves to 100 frames a second, inside `jit`.

Power spectra of centred windows (400 samples every 160), Slaney mel filters, log10, no more than 8 under the loudest,
scaled to about -1..1.  Whisper pads every wave with zeros to 30 s and takes the loudest of all of it; here a row is its
own utterance: zeros follow it, the loudest is its own, and there are no frames of padding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.clock import SSL_RATE
from metis_jax.ops.lengths import valid_mask, zero_padding
from metis_jax.ops.slaney import triangles
from metis_jax.ops.stft import frame, hann_window
from metis_jax.types import Array, Float, Int

WIDTH = 400
HOP = 160
FLOOR = 1e-10
RANGE = 8.0


@functools.cache
def slaney_filters(mel_bins: int) -> np.ndarray:
    """Triangles of equal area over the FFT bins, [201, m]."""
    return triangles(SSL_RATE, WIDTH, mel_bins).T


def log_mel_frames(samples: Int[Array, " b"]) -> Int[Array, " b"]:
    """10 ms frames of a wave; the reference, too, drops the frame that is centred on its end."""
    return samples // HOP


def log_mel(
    wave: Float[Array, "b l"], lengths: Int[Array, " b"], *, mel_bins: int = 80
) -> tuple[Float[Array, "b t m"], Int[Array, " b"]]:
    """Features of right-padded waves, zero where there is padding, and how many frames of each row are valid."""
    half = WIDTH // 2
    if wave.shape[1] <= half:
        raise ValueError(f"wave has {wave.shape[1]} samples; pad it to more than half a window of {WIDTH}")
    wave = jnp.where(valid_mask(lengths, wave.shape[1]), wave.astype(jnp.float32), jnp.float32(0))
    wave = jnp.concatenate([jnp.flip(wave[:, 1 : half + 1], axis=1), wave, jnp.zeros_like(wave[:, :half])], axis=1)
    frames = frame(wave, WIDTH, HOP)[:, : (wave.shape[1] - WIDTH) // HOP] * hann_window(WIDTH)[None, None, :]
    spectrum = jnp.fft.rfft(frames, axis=-1)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    # Accelerators would otherwise multiply float32 matrices in reduced precision.
    energy = jnp.matmul(power, jnp.asarray(slaney_filters(mel_bins)), precision=jax.lax.Precision.HIGHEST)
    x = jnp.log10(jnp.maximum(energy, jnp.float32(FLOOR)))
    counts = log_mel_frames(lengths)
    is_valid = valid_mask(counts, x.shape[1])[:, :, None]
    loudest = jnp.max(jnp.where(is_valid, x, jnp.float32(-jnp.inf)), axis=(1, 2), keepdims=True)
    x = (jnp.maximum(x, loudest - jnp.float32(RANGE)) + jnp.float32(4)) / jnp.float32(4)
    return zero_padding(x, counts), counts

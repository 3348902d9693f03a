"""Framing and the short-time Fourier transform, in float32.

Frames are cut by reshaping and slicing, never by a gather, so that they lower to plain copies on every accelerator.
"""

import jax.numpy as jnp
from jaxtyping import Complex

from metis_jax.types import Array, Float


def frame(x: Float[Array, "b l"], width: int, hop: int) -> Float[Array, "b t w"]:
    """Every whole frame of `width` samples, `hop` apart; a remainder at the right is dropped."""
    b, l = x.shape
    if l < width:
        raise ValueError(f"a wave of {l} samples is shorter than one frame of {width}; pad it at the right")
    t = 1 + (l - width) // hop
    pieces = -(-width // hop)
    # Frame i is the concatenation of hops i, i + 1, ..., cut to `width`.
    samples = (t + pieces - 1) * hop
    x = jnp.pad(x, ((0, 0), (0, max(samples - l, 0))))[:, :samples]
    hops = x.reshape(b, t + pieces - 1, hop)
    return jnp.concatenate([hops[:, piece : piece + t] for piece in range(pieces)], axis=-1)[:, :, :width]


def stft(x: Float[Array, "b l"], window: Float[Array, " w"], hop: int) -> Complex[Array, "b t k"]:
    """The one-sided spectrum of every whole windowed frame; centring is the caller's padding."""
    frames = frame(x.astype(jnp.float32), window.shape[0], hop)
    return jnp.fft.rfft(frames * window.astype(jnp.float32)[None, None, :], axis=-1)

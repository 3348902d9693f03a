"""Rotary position embedding in the half-rotation form of Llama (arXiv 2104.09864)."""

import jax.numpy as jnp
import numpy as np

from metis_jax.types import Array, Float


def rotary_angles(positions: Float[Array, "b t"], head_width: int, base: float) -> Float[Array, "b t h2"]:
    """Angles, in radians, of the `head_width // 2` planes at each position."""
    frequencies = 1.0 / base ** (np.arange(0, head_width, 2, dtype=np.float32) / np.float32(head_width))
    return positions[:, :, None] * jnp.asarray(frequencies, jnp.float32)[None, None, :]


def rotate(x: Float[Array, "b t n h"], angles: Float[Array, "b t h2"]) -> Float[Array, "b t n h"]:
    """Rotates each head's (i, i + h/2) planes; computed in float32, returned in the dtype of `x`."""
    cos, sin = jnp.cos(angles)[:, :, None, :], jnp.sin(angles)[:, :, None, :]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)

"""The sine masking schedule of MaskGCT section 3.2.2 and the time grid on which it is decoded.

Times and rates of a decoding schedule are made on the host: the number of frames that stay masked is the floor of a
float32 product, so a sine that is off by one unit in the last place (as XLA's may be) could change that number.
"""

import jax.numpy as jnp
import numpy as np

from metis_jax.types import Array, Float, Int


def mask_rate(time: Float[Array, "..."]) -> Float[Array, "..."]:
    """The share of frames masked at `time` in [0, 1]: sin(pi t / 2)."""
    return jnp.sin(time.astype(jnp.float32) * jnp.float32(np.pi / 2))


def decoding_times(steps: int) -> np.ndarray:
    """The `steps + 1` times 1, 1 - h, …, 0 of an even grid, rounded to float32 only once."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; use at least one")
    times = 1.0 - np.arange(steps + 1, dtype=np.float64) * (1.0 / steps)
    times[-1] = 0.0
    return times.astype(np.float32)


def decoding_rates(times: np.ndarray) -> np.ndarray:
    """`mask_rate` on the host: float32 arguments as the reference rounds them, correctly rounded sines."""
    angles = times.astype(np.float32) * np.float32(np.pi) / np.float32(2)
    return np.sin(angles.astype(np.float64)).astype(np.float32)


def masked_count(rate: Float[Array, "..."], lengths: Int[Array, "..."]) -> Int[Array, "..."]:
    """floor(rate * length) in float32."""
    return jnp.floor(rate * lengths.astype(jnp.float32)).astype(jnp.int32)

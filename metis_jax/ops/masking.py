"""Masks of masked generative modelling: exactly-k re-masking for decoding, and the random masks of training.

Training follows Metis section 3.1 and MaskGCT section 3.2: t ~ U(1e-5, 1), a mask rate of sin(pi t / 2) with a floor of
0.2 in stage 1, Bernoulli masks outside the prompt, at least one masked frame.  The prompt is drawn per row (the
released code draws once per batch whether there is one).
"""

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.ops.lengths import valid_mask
from metis_jax.types import Array, Bool, Float, Int, Key

MINIMUM_TIME = 1e-5
MINIMUM_MASK_RATE = 0.2  # stage 1; stage 2 has no floor
PROMPT_PROBABILITY = 0.85
SEMANTIC_PROMPT_SHARE = 0.4
ACOUSTIC_PROMPT_SHARE = 0.5


def remask(
    uncertainty: Float[Array, "b t"], is_masked: Bool[Array, "b t"], count: Int[Array, " b"]
) -> Bool[Array, "b t"]:
    """Keeps the `count` most uncertain masked frames of each row masked: exactly that many, ties to the lower index."""
    order = jnp.argsort(jnp.where(is_masked, -uncertainty, jnp.inf), axis=-1, stable=True)
    rank = jnp.argsort(order, axis=-1)
    return (rank < count[:, None]) & is_masked


def sample_times(key: Key[Array, ""], b: int) -> Float[Array, " b"]:
    """Training times, uniform on (1e-5, 1)."""
    return jnp.maximum(jax.random.uniform(key, (b,), jnp.float32), jnp.float32(MINIMUM_TIME))


def sample_prompt_lengths(key: Key[Array, ""], lengths: Int[Array, " b"], *, share: float) -> Int[Array, " b"]:
    """A length from U[min(T/4, 5), share * T) for a row of length T."""
    low = jnp.minimum(lengths // 4, 5)
    high = jnp.floor(lengths.astype(jnp.float32) * jnp.float32(share)).astype(lengths.dtype)
    return jax.random.randint(key, lengths.shape, low, jnp.maximum(high, low + 1), lengths.dtype)


def sample_mask(
    key: Key[Array, ""],
    rate: Float[Array, " b"],
    prompt_lengths: Int[Array, " b"],
    lengths: Int[Array, " b"],
    t: int,
) -> Bool[Array, "b t"]:
    """Masks valid frames behind the prompt with the row's `rate`; a row without any masks its first such frame."""
    is_open = valid_mask(lengths, t) & ~valid_mask(prompt_lengths, t)
    drawn = jax.random.bernoulli(key, rate[:, None], (lengths.shape[0], t)) & is_open
    first = is_open & (jnp.arange(t, dtype=prompt_lengths.dtype)[None, :] == prompt_lengths[:, None])
    return jnp.where(drawn.any(axis=-1, keepdims=True), drawn, first)


def level_weights(num_levels: int, first_level: int) -> np.ndarray:
    """Linear weights by which a level is drawn: `num_levels` at `first_level`, one less per level, zero before it."""
    levels = np.arange(num_levels)
    return np.where(levels >= first_level, num_levels - (levels - first_level), 0).astype(np.float32)


def sample_levels(key: Key[Array, ""], b: int, weights: Float[Array, " q"]) -> Int[Array, " b"]:
    """One level per example, with probability proportional to `weights`."""
    return jax.random.categorical(key, jnp.log(weights)[None, :], axis=-1, shape=(b,)).astype(jnp.int32)

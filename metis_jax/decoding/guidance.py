"""Classifier-free guidance on hidden states, with the variance rescaling of arXiv 2305.08891 section 3.4.

Matches `reverse_diffusion` of the reference's stage-1 and stage-2 models, which take the standard deviation over a
whole batch of one: here it is per example and over valid frames, so that neither neighbours nor padding change it.
"""

import jax.numpy as jnp

from metis_jax.types import Array, Bool, Float

RESCALE = 0.75


def guide(
    conditional: Float[Array, "b t d"],
    unconditional: Float[Array, "b t d"],
    weight: Float[Array, ""],
    is_valid: Bool[Array, "b t"],
    rescale: float = RESCALE,
) -> Float[Array, "b t d"]:
    """c + weight (c - u), its standard deviation brought back to that of c by a share of `rescale`."""
    c, u = conditional.astype(jnp.float32), unconditional.astype(jnp.float32)
    guided = c + weight * (c - u)
    ratio = valid_std(c, is_valid) / jnp.maximum(valid_std(guided, is_valid), jnp.finfo(jnp.float32).tiny)
    return (guided * (rescale * ratio + (1 - rescale))[:, None, None]).astype(conditional.dtype)


def valid_std(x: Float[Array, "b t d"], is_valid: Bool[Array, "b t"]) -> Float[Array, " b"]:
    """Standard deviation (n - 1) over the valid frames and all channels of each example."""
    count = (is_valid.sum(axis=1) * x.shape[2]).astype(jnp.float32)
    is_valid = is_valid[:, :, None]
    mean = jnp.sum(x, axis=(1, 2), where=is_valid) / jnp.maximum(count, 1)
    squares = jnp.sum(jnp.square(x - mean[:, None, None]), axis=(1, 2), where=is_valid)
    return jnp.sqrt(squares / jnp.maximum(count - 1, 1))

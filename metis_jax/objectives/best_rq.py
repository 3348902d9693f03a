"""Targets from a random projection, and the masks under which they are predicted (BEST-RQ, arXiv 2202.01855).

A frame of log-mel features is projected by a random matrix and looked up in random codebooks; neither is ever trained.
The encoder predicts the codes of masked spans from the rest.  Projection and codebooks follow from a seed, so they
belong to the config and not to a checkpoint.
"""

import jax
import jax.numpy as jnp

from metis_jax.ops.lengths import valid_mask
from metis_jax.ops.vq import nearest_codes
from metis_jax.types import Array, Bool, Float, Int, Key


def random_codes(
    features: Float[Array, "b t c"], *, seed: int, num_codebooks: int, codebook_size: int, code_width: int
) -> Int[Array, "b t q"]:
    """The nearest code of every frame in each of the codebooks that `seed` stands for."""

    def look_up(key: Key[Array, ""]) -> Int[Array, "b t"]:
        projection_key, codebook_key = jax.random.split(key)
        c = features.shape[-1]
        projection = jax.random.normal(projection_key, (c, code_width)) * jnp.float32(c**-0.5)
        codebook = jax.random.normal(codebook_key, (codebook_size, code_width))
        projected = jnp.matmul(features.astype(jnp.float32), projection, precision=jax.lax.Precision.HIGHEST)
        return nearest_codes(projected, codebook)

    codes = [look_up(key) for key in jax.random.split(jax.random.key(seed), num_codebooks)]
    return jax.lax.stop_gradient(jnp.stack(codes, axis=-1))


def sample_spans(
    key: Key[Array, ""], lengths: Int[Array, " b"], t: int, *, start_probability: float, span: int
) -> Bool[Array, "b t"]:
    """Masks `span` frames from every drawn start on; a row without a start gets one, so that none goes unused."""
    start_key, forced_key = jax.random.split(key)
    is_valid = valid_mask(lengths, t)
    starts = jax.random.bernoulli(start_key, start_probability, is_valid.shape) & is_valid
    forced = jax.random.randint(forced_key, lengths.shape, 0, jnp.maximum(lengths, 1), lengths.dtype)
    is_forced = jnp.arange(t, dtype=lengths.dtype)[None, :] == forced[:, None]
    starts = jnp.where(starts.any(axis=1, keepdims=True), starts, is_forced)
    count = jnp.cumsum(starts.astype(jnp.int32), axis=1)
    before = jnp.pad(count, ((0, 0), (span, 0)))[:, :t]
    return (count > before) & is_valid

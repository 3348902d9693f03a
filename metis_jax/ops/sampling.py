"""Categorical sampling of tokens from filtered logits, with noise that belongs to an example and a position.

MaskGCT decodes with a top-k filter and Gumbel noise.  The noise here is drawn for the surviving logits alone, by rank:
the distribution is the same as noise over the whole vocabulary, at a fiftieth of the random numbers.

Every draw of an example comes from its own key in rows of one frame each.  JAX's partitionable threefry makes entry
(i, r) a function of the key and of its flat index, so frame i draws the same noise in any batch and in any bucket.
"""

import math

import jax
import jax.numpy as jnp

from metis_jax.types import Array, Float, Int, Key

FILTER_THRESHOLD = 0.98  # the share of the vocabulary that the filter drops, as released


def num_kept(vocabulary: int, threshold: float = FILTER_THRESHOLD) -> int:
    """How many logits of a frame survive the top-k filter: ceil((1 - threshold) * vocabulary)."""
    return math.ceil((1 - threshold) * vocabulary)


def gumbel_rows(keys: Key[Array, " b"], t: int, width: int) -> Float[Array, "b t width"]:
    """Standard Gumbel noise; row i of an example does not depend on `t`, on `b` or on the other examples."""
    return jax.vmap(lambda key: jax.random.gumbel(key, (t, width), jnp.float32))(keys)


def sample_filtered(
    logits: Float[Array, "b t v"], keys: Key[Array, " b"], temperature: Float[Array, ""]
) -> tuple[Int[Array, "b t"], Float[Array, "b t"]]:
    """Samples tokens from softmax(filtered logits / temperature), greedily at temperature zero.

    Returns the tokens and their confidence, which is their probability under the filtered logits at temperature one.
    """
    kept, ids = jax.lax.top_k(logits.astype(jnp.float32), num_kept(logits.shape[-1]))
    noise = gumbel_rows(keys, logits.shape[1], kept.shape[-1])
    rank = jnp.argmax(kept + temperature * noise, axis=-1, keepdims=True)
    tokens = jnp.take_along_axis(ids, rank, axis=-1)[:, :, 0].astype(jnp.int32)
    confidence = jnp.take_along_axis(jax.nn.softmax(kept, axis=-1), rank, axis=-1)[:, :, 0]
    return tokens, confidence

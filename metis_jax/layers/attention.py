"""Bidirectional attention over right-padded batches, one front for every backend."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax.config import LoraConfig, TransformerConfig
from metis_jax.layers.dense import Projection
from metis_jax.ops.rope import rotate
from metis_jax.types import EMBED, HEADS, Array, Float, Int, Policy


def attention(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b s n h"],
    v: Float[Array, "b s n h"],
    lengths: Int[Array, " b"],
    *,
    backend: str,
    bias: Float[Array, "b n t s"] | None = None,
) -> Float[Array, "b t n h"]:
    """Softmax attention of every query over the first `lengths` keys; the softmax is float32.

    "cudnn" needs an NVIDIA GPU and bfloat16 inputs, "xla" runs anywhere.  `bias` is added to the scaled scores.
    """
    if backend == "cudnn":
        query_lengths = jnp.full_like(lengths, q.shape[1])
        bias = None if bias is None else bias.astype(q.dtype)
        return jax.nn.dot_product_attention(
            q, k, v, bias, query_seq_lengths=query_lengths, key_value_seq_lengths=lengths, implementation="cudnn"
        )
    # JAX widens bfloat16 scores to float32 by type promotion, which the strict mode of our tests would refuse.
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(q, k, v, bias, key_value_seq_lengths=lengths, implementation="xla")


def segment_attention(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b t n h"],
    v: Float[Array, "b t n h"],
    lengths: Int[Array, "b k"],
    sizes: tuple[int, ...],
    *,
    backend: str,
) -> Float[Array, "b t n h"]:
    """Attention within each of the sequences that lie one behind the other in a row, `sizes` frames long."""
    found, start = [], 0
    for i, size in enumerate(sizes):
        own = slice(start, start + size)
        found.append(attention(q[:, own], k[:, own], v[:, own], lengths[:, i], backend=backend))
        start += size
    return jnp.concatenate(found, axis=1)


class SelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions and bias-free, adaptable projections."""

    config: TransformerConfig
    policy: Policy
    lora: LoraConfig | None
    sizes: tuple[int, ...]
    deterministic: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], lengths: Int[Array, "b k"], angles: Float[Array, "b t h2"]
    ) -> Float[Array, "b t d"]:
        config, dtype = self.config, self.policy.compute_dtype
        heads = (config.num_heads, config.head_width)

        def project(name: str) -> Float[Array, "b t n h"]:
            y = Projection(config.width, (EMBED, HEADS), self.lora, dtype, name=name)(
                x, deterministic=self.deterministic
            )
            return y.reshape(y.shape[:2] + heads)

        q, k, v = project("query"), project("key"), project("value")
        q, k = rotate(q, angles), rotate(k, angles)
        y = segment_attention(q, k, v, lengths, self.sizes, backend=self.policy.attention)
        y = y.reshape(x.shape)
        return Projection(config.width, (HEADS, EMBED), self.lora, dtype, name="out")(
            y, deterministic=self.deterministic
        )

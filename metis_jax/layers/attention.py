"""Bidirectional attention over right-padded batches, one front for every backend."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax.config import LoraConfig, TransformerConfig
from metis_jax.layers.dense import Projection
from metis_jax.layers.placement import target_devices
from metis_jax.layers.splash import fits_mesh, splash_attention
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

    `bias` is added to the scaled scores.  `backend` is one of `Policy.attention`.
    """
    if backend == "auto":
        backend = chosen_backend(q, has_bias=bias is not None)
    if backend == "splash":
        return splash_attention(q, k, v, lengths, interpret=target_devices()[0].platform != "tpu")
    if backend == "heads":
        return _head_by_head(q, k, v, lengths, bias)
    if backend == "cudnn":
        query_lengths = jnp.full_like(lengths, q.shape[1])
        bias = None if bias is None else bias.astype(q.dtype)
        return jax.nn.dot_product_attention(
            q, k, v, bias, query_seq_lengths=query_lengths, key_value_seq_lengths=lengths, implementation="cudnn"
        )
    # JAX widens bfloat16 scores to float32 by type promotion, which the strict mode of our tests would refuse.
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(q, k, v, bias, key_value_seq_lengths=lengths, implementation="xla")


def chosen_backend(q: Float[Array, "b t n h"], *, has_bias: bool) -> str:
    """What "auto" is for these queries, on the devices that the program is made for."""
    first, count = target_devices()
    mesh = jax.sharding.get_abstract_mesh()
    is_placed = count == 1 or not mesh.empty and fits_mesh(q.shape[0], q.shape[2])
    if first.platform == "tpu" and is_placed and not has_bias:
        return "splash"
    if first.platform == "gpu" and first.device_kind.startswith("NVIDIA") and q.dtype == jnp.bfloat16:
        # JAX looks for cuDNN where the program is traced.
        return "cudnn" if jax.default_backend() == "gpu" else "xla"
    return "heads" if first.platform == "cpu" and count == 1 else "xla"


def _head_by_head(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b s n h"],
    v: Float[Array, "b s n h"],
    lengths: Int[Array, " b"],
    bias: Float[Array, "b n t s"] | None,
) -> Float[Array, "b t n h"]:
    """A loop over examples and heads, whose scores are made again in the backward pass.

    Scores of one head fit into a CPU's cache and those of all do not, which makes this the faster way there.
    """
    b, t, n, h = q.shape
    s = k.shape[1]

    @jax.checkpoint
    def one(head: tuple[Array, ...]) -> Float[Array, "t h"]:
        q, k, v, length, *rest = head
        scores = jnp.matmul(q, k.T, preferred_element_type=jnp.float32) * jnp.float32(h**-0.5)
        if rest:
            scores = scores + rest[0].astype(jnp.float32)
        is_valid = jnp.arange(s, dtype=length.dtype)[None, :] < length
        scores = jnp.where(is_valid, scores, jnp.finfo(jnp.float32).min)
        return jax.nn.softmax(scores, axis=-1).astype(v.dtype) @ v

    heads = [x.transpose(0, 2, 1, 3).reshape(b * n, x.shape[1], h) for x in (q, k, v)]
    rest = [] if bias is None else [jnp.broadcast_to(bias, (b, n, t, s)).reshape(b * n, t, s)]
    found = jax.lax.map(one, (*heads, jnp.repeat(lengths, n), *rest))
    return found.reshape(b, n, t, h).transpose(0, 2, 1, 3)


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

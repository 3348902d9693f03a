"""Self-attention with relative positions, as the two Conformers use it.

`RelativeKeyAttention` learns one key per clipped distance (arXiv 1803.02155; w2v-BERT 2.0, "relative_key" in
transformers).  `RelativePositionAttention` projects sinusoids of the signed distance (Transformer-XL, arXiv 1901.02860
section 3.3; the lip reader's ESPnet encoder).  Both agree with their PyTorch references to 1e-5 relative per layer.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.layers.attention import attention
from metis_jax.layers.dense import Dense, normal_init, partitioned
from metis_jax.layers.placement import target_devices
from metis_jax.types import EMBED, HEADS, Array, Float, Int, Policy


def align_distances(scores: Float[Array, "b n t r"]) -> Float[Array, "b n t s"]:
    """Scores by distance to scores by key: entry (i, r) of [t, 2t - 1] is for the key at i + r - (t - 1).

    Row i has to move left by t - 1 - i.  In a flattened array with one spare column, reading rows one element short
    does that for all rows at once, without a gather.
    """
    b, n, t, _ = scores.shape
    flat = jnp.pad(scores, ((0, 0), (0, 0), (0, 0), (0, 1))).reshape(b, n, 2 * t * t)
    return flat[:, :, t - 1 : t - 1 + t * (2 * t - 1)].reshape(b, n, t, 2 * t - 1)[:, :, :, :t]


def clip_distances(scores: Float[Array, "b n t r"], left: int, right: int) -> Float[Array, "b n t r2"]:
    """Scores of distances -left..right, repeated at both ends (or cut) to the distances -(t - 1)..t - 1."""
    t = scores.shape[2]
    before, after = t - 1 - left, t - 1 - right
    scores = scores[:, :, :, max(-before, 0) : scores.shape[3] - max(-after, 0)]
    return jnp.pad(scores, ((0, 0), (0, 0), (0, 0), (max(before, 0), max(after, 0))), mode="edge")


def scores_by_key(
    q: Float[Array, "b t n h"], distance: Float[Array, "r h"], left: int, right: int
) -> Float[Array, "b n t s"]:
    """The products of queries with the learned keys of the distances -left..right, clipped, to every frame.

    Scores by distance, aligned, are the same numbers for less arithmetic; but to move rows by one element each is dear
    on a TPU, whose memory is laid out in tiles.
    """
    frames = jnp.arange(q.shape[1])
    distances = jnp.clip(frames[None, :] - frames[:, None], -left, right) + left
    return jnp.einsum("btnh,tsh->bnts", q, distance[distances], preferred_element_type=jnp.float32)


def scores_by_distance(
    q: Float[Array, "b t n h"], distance: Float[Array, "r h"], left: int, right: int
) -> Float[Array, "b n t s"]:
    """`scores_by_key`, as scores of every distance that are moved to where they belong."""
    scores = jnp.einsum("btnh,rh->bntr", q, distance, preferred_element_type=jnp.float32)
    return align_distances(clip_distances(scores, left, right))


def distance_sinusoids(t: int, width: int) -> Float[Array, "r d"]:
    """Interleaved sines and cosines of query minus key position, from t - 1 down to -(t - 1)."""
    position = jnp.arange(t - 1, -t, -1, dtype=jnp.float32)[:, None]
    rate = jnp.exp(jnp.arange(0, width, 2, dtype=jnp.float32) * jnp.float32(-math.log(10000.0) / width))[None, :]
    angles = position * rate
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(2 * t - 1, width)


class RelativeKeyAttention(nn.Module):
    """Attention whose score adds the query's product with a learned key of the distance, -left..right and clipped."""

    num_heads: int
    left: int
    right: int
    policy: Policy

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> Float[Array, "b t d"]:
        width, dtype = x.shape[-1], self.policy.compute_dtype
        heads = (self.num_heads, width // self.num_heads)

        def project(name: str) -> Float[Array, "b t n h"]:
            return Dense(width, (EMBED, HEADS), dtype=dtype, name=name)(x).reshape(x.shape[:2] + heads)

        q, k, v = project("query"), project("key"), project("value")
        shape = (self.left + self.right + 1, heads[1])
        distance = self.param("distance", partitioned(normal_init, None, None), shape).astype(dtype)
        scores = scores_by_key if target_devices()[0].platform == "tpu" else scores_by_distance
        bias = scores(q, distance, self.left, self.right) * jnp.float32(heads[1] ** -0.5)
        y = attention(q, k, v, lengths, backend=self.policy.attention, bias=bias).reshape(x.shape)
        return Dense(width, (HEADS, EMBED), dtype=dtype, name="out")(y)


class RelativePositionAttention(nn.Module):
    """Attention whose score adds the query's product with projected sinusoids of the distance.

    `position_bias` and `content_bias` are the reference's `pos_bias_v` and `pos_bias_u`.
    """

    num_heads: int
    policy: Policy

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], lengths: Int[Array, " b"], positions: Float[Array, "r d"]
    ) -> Float[Array, "b t d"]:
        width, dtype = x.shape[-1], self.policy.compute_dtype
        heads = (self.num_heads, width // self.num_heads)

        def project(name: str) -> Float[Array, "b t n h"]:
            return Dense(width, (EMBED, HEADS), dtype=dtype, name=name)(x).reshape(x.shape[:2] + heads)

        def query_bias(name: str) -> Float[Array, "1 1 n h"]:
            value = self.param(name, partitioned(nn.initializers.xavier_uniform(), HEADS, None), heads)
            return value.astype(dtype)[None, None]

        q, k, v = project("query"), project("key"), project("value")
        p = Dense(width, (EMBED, HEADS), use_bias=False, dtype=dtype, name="position")(positions)
        p = p.reshape((-1, *heads))
        scores = jnp.einsum("btnh,rnh->bntr", q + query_bias("position_bias"), p, preferred_element_type=jnp.float32)
        bias = align_distances(scores) * jnp.float32(heads[1] ** -0.5)
        y = attention(q + query_bias("content_bias"), k, v, lengths, backend=self.policy.attention, bias=bias)
        return Dense(width, (HEADS, EMBED), dtype=dtype, name="out")(y.reshape(x.shape))

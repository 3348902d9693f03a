"""Normalisation layers; statistics are always float32."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax.layers.dense import Dense, partitioned
from metis_jax.types import CHANNELS, EMBED, Array, Bool, DType, Float


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis with a learned scale and bias."""

    epsilon: float
    axis: str | None = EMBED
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        scale = self.param("scale", partitioned(nn.initializers.ones, self.axis), (x.shape[-1],))
        bias = self.param("bias", partitioned(nn.initializers.zeros, self.axis), (x.shape[-1],))
        x = x.astype(jnp.float32)
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + jnp.float32(self.epsilon))
        # Frozen weights may be kept in less than float32.
        scale, bias = (jnp.broadcast_to(leaf.astype(jnp.float32), x.shape) for leaf in (scale, bias))
        x = x * scale + bias
        return x.astype(self.dtype)


class AdaptiveRMSNorm(nn.Module):
    """RMSNorm whose scale is a linear function of the time embedding (reference LlamaAdaptiveRMSNorm)."""

    epsilon: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], time: Float[Array, "b d"]) -> Float[Array, "b t d"]:
        scale = Dense(
            x.shape[-1],
            (None, EMBED),
            dtype=self.dtype,
            kernel_init=nn.initializers.zeros,
            bias_init=nn.initializers.ones,
            name="scale",
        )(time)
        x = x.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + jnp.float32(self.epsilon))
        return (x * scale.astype(jnp.float32)[:, None, :]).astype(self.dtype)


class BatchNorm(nn.Module):
    """Batch normalisation over every axis but the last (momentum 0.9, epsilon 1e-5, as PyTorch's default).

    With `train` the statistics are of the entries of this batch where `is_valid`, else the running ones of the
    collection `batch_stats`.
    """

    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], is_valid: Bool[Array, "*m 1"], *, train: bool) -> Float[Array, "*b c"]:
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            scale_init=partitioned(nn.initializers.ones, CHANNELS),
            bias_init=partitioned(nn.initializers.zeros, CHANNELS),
            use_fast_variance=False,
        )
        nn.share_scope(self, norm)
        return norm(x.astype(jnp.float32), mask=is_valid).astype(self.dtype)

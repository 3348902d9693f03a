"""Conformer blocks (arXiv 2005.08100): the causal one of w2v-BERT 2.0 and the lip reader's.

References: `Wav2Vec2BertEncoderLayer` of transformers and ESPnet's macaron `EncoderLayer`, to 1e-5 relative.  They
differ in more than sizes: w2v-BERT convolves causally with layer norm and has swish everywhere, the lip reader
convolves both ways with batch norm and has ReLU in its feed-forward layers.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.config import SslEncoderConfig, VisualEncoderConfig
from metis_jax.layers.conv import Conv1d
from metis_jax.layers.dense import Dense
from metis_jax.layers.norms import BatchNorm, LayerNorm
from metis_jax.layers.relative import RelativeKeyAttention, RelativePositionAttention
from metis_jax.ops.lengths import valid_mask, zero_padding
from metis_jax.types import CHANNELS, EMBED, MLP, Array, DType, Float, Int, Policy

SSL_EPSILON = 1e-5
VISUAL_EPSILON = 1e-12


class FeedForward(nn.Module):
    """Layer norm, linear, activation, linear, halved: the macaron half step."""

    hidden: int
    activation: Callable[[Array], Array]
    epsilon: float
    dtype: DType

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        width = x.shape[-1]
        x = LayerNorm(self.epsilon, dtype=self.dtype, name="norm")(x)
        x = Dense(self.hidden, (EMBED, MLP), dtype=self.dtype, name="in")(x)
        x = Dense(width, (MLP, EMBED), dtype=self.dtype, name="out")(self.activation(x))
        return x * jnp.asarray(0.5, self.dtype)


class CausalConvolution(nn.Module):
    """Gated pointwise, causal depthwise and pointwise convolutions of w2v-BERT, all without biases."""

    conv_width: int
    epsilon: float
    dtype: DType

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> Float[Array, "b t d"]:
        width, dtype = x.shape[-1], self.dtype
        x = zero_padding(LayerNorm(self.epsilon, dtype=dtype, name="norm")(x), lengths)
        x = nn.glu(Dense(2 * width, (EMBED, CHANNELS), use_bias=False, dtype=dtype, name="pointwise_in")(x))
        x = Conv1d(
            width,
            self.conv_width,
            padding=(self.conv_width - 1, 0),
            groups=width,
            use_bias=False,
            dtype=dtype,
            name="depthwise",
        )(x)
        x = nn.silu(LayerNorm(self.epsilon, CHANNELS, dtype, name="depthwise_norm")(x))
        return Dense(width, (CHANNELS, EMBED), use_bias=False, dtype=dtype, name="pointwise_out")(x)


class CenteredConvolution(nn.Module):
    """Gated pointwise, centred depthwise and pointwise convolutions of the lip reader, with batch norm.

    The reference convolves across the edge into padding; here padding is zeroed first, so that a row in a batch gets
    what the reference gives it alone.
    """

    conv_width: int
    epsilon: float
    dtype: DType

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], lengths: Int[Array, " b"], *, train: bool) -> Float[Array, "b t d"]:
        width, dtype = x.shape[-1], self.dtype
        x = LayerNorm(self.epsilon, dtype=dtype, name="norm")(x)
        x = nn.glu(Dense(2 * width, (EMBED, CHANNELS), dtype=dtype, name="pointwise_in")(x))
        side = (self.conv_width - 1) // 2
        x = zero_padding(x, lengths)
        x = Conv1d(width, self.conv_width, padding=(side, side), groups=width, dtype=dtype, name="depthwise")(x)
        is_valid = valid_mask(lengths, x.shape[1])[:, :, None]
        x = nn.silu(BatchNorm(dtype=dtype, name="depthwise_norm")(x, is_valid, train=train))
        return Dense(width, (CHANNELS, EMBED), dtype=dtype, name="pointwise_out")(x)


class CausalConformerBlock(nn.Module):
    """One layer of w2v-BERT 2.0."""

    config: SslEncoderConfig
    policy: Policy
    deterministic: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> tuple[Float[Array, "b t d"], None]:
        config, dtype = self.config, self.policy.compute_dtype

        def drop(y: Float[Array, "b t d"], name: str) -> Float[Array, "b t d"]:
            return nn.Dropout(config.dropout, name=f"{name}_dropout")(y, deterministic=self.deterministic)

        x = x + drop(FeedForward(config.mlp_width, nn.silu, SSL_EPSILON, dtype, name="ff1")(x), "ff1")
        y = LayerNorm(SSL_EPSILON, dtype=dtype, name="attention_norm")(x)
        attend = RelativeKeyAttention(
            config.num_heads, config.left_context, config.right_context, self.policy, name="attention"
        )
        x = x + drop(attend(y, lengths), "attention")
        x = x + drop(CausalConvolution(config.conv_width, SSL_EPSILON, dtype, name="conv")(x, lengths), "conv")
        x = x + drop(FeedForward(config.mlp_width, nn.silu, SSL_EPSILON, dtype, name="ff2")(x), "ff2")
        return LayerNorm(SSL_EPSILON, dtype=dtype, name="final_norm")(x), None


class VisualConformerBlock(nn.Module):
    """One layer of the lip reader."""

    config: VisualEncoderConfig
    policy: Policy
    train: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], lengths: Int[Array, " b"], positions: Float[Array, "r d"]
    ) -> tuple[Float[Array, "b t d"], None]:
        config, dtype = self.config, self.policy.compute_dtype
        x = x + FeedForward(config.mlp_width, nn.relu, VISUAL_EPSILON, dtype, name="ff1")(x)
        y = LayerNorm(VISUAL_EPSILON, dtype=dtype, name="attention_norm")(x)
        x = x + RelativePositionAttention(config.num_heads, self.policy, name="attention")(y, lengths, positions)
        convolution = CenteredConvolution(config.conv_width, VISUAL_EPSILON, dtype, name="conv")
        x = x + convolution(x, lengths, train=self.train)
        x = x + FeedForward(config.mlp_width, nn.relu, VISUAL_EPSILON, dtype, name="ff2")(x)
        return LayerNorm(VISUAL_EPSILON, dtype=dtype, name="final_norm")(x), None

"""The acoustic codec's encoder: strided convolutions over samples, as in DAC (arXiv 2306.06546).

Reference: `CodecEncoder` in `models/codec/amphion_codec/codec.py`.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.config import AcousticCodecConfig
from metis_jax.layers.conv import Conv1d, Snake
from metis_jax.layers.dense import fan_in_init
from metis_jax.layers.stack import rematerialized
from metis_jax.ops.lengths import zero_padding
from metis_jax.types import CHANNELS, Array, DType, Float, Int, Policy

_DILATIONS = (1, 3, 9)
# Every convolution of the encoder makes its input smaller, and latents would start around 0.01: less than a few steps
# of an optimizer move the biases.  All frames then get one code, at every level, and stay there.
_LATENT_GAIN = 100.0


def code_frames(samples: Int[Array, " b"] | int, strides: tuple[int, ...]) -> Int[Array, " b"] | int:
    """Frames that the encoder makes of `samples`: odd strides round up half a stride early, even ones round down."""
    for stride in strides:
        samples = (samples + stride % 2) // stride
    return samples


def _conv(
    features: int, width: int, dtype: DType, name: str, *, dilation: int = 1, initial_gain: float = 1.0
) -> Conv1d:
    """A weight-normed convolution that keeps the number of frames."""
    side = (width - 1) * dilation // 2
    return Conv1d(
        features,
        width,
        (side, side),
        dilation=dilation,
        weight_norm=True,
        initial_gain=initial_gain,
        axes=(CHANNELS, CHANNELS),
        dtype=dtype,
        kernel_init=fan_in_init,
        name=name,
    )


class ResidualUnit(nn.Module):
    """Snake, dilated convolution, Snake, pointwise convolution, added to the input."""

    dilation: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"], lengths: Int[Array, " b"]) -> Float[Array, "b t c"]:
        width, dtype = x.shape[-1], self.dtype
        y = zero_padding(Snake(name="snake_in")(x), lengths)
        y = _conv(width, 7, dtype, "conv", dilation=self.dilation)(y)
        return x + _conv(width, 1, dtype, "out")(Snake(name="snake_out")(y))


class EncoderBlock(nn.Module):
    """Three residual units of growing dilation, then a strided convolution to twice the channels."""

    stride: int
    policy: Policy

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t c"], lengths: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t2 d"], Int[Array, " b"]]:
        dtype, stride = self.policy.compute_dtype, self.stride
        unit = rematerialized(ResidualUnit, self.policy)
        for i, dilation in enumerate(_DILATIONS):
            x = unit(dilation, dtype, name=f"unit_{i}")(x, lengths)
        side = math.ceil(stride / 2)
        down = Conv1d(
            2 * x.shape[-1],
            2 * stride,
            (side, side),
            stride=stride,
            weight_norm=True,
            axes=(CHANNELS, CHANNELS),
            dtype=dtype,
            kernel_init=fan_in_init,
            name="down",
        )
        return down(zero_padding(Snake(name="snake")(x), lengths)), code_frames(lengths, (stride,))


class WaveEncoder(nn.Module):
    """Waves to latents, one block per stride."""

    config: AcousticCodecConfig
    policy: Policy

    @nn.compact
    def __call__(
        self, wave: Float[Array, "b l"], lengths: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t c"], Int[Array, " b"]]:
        config, dtype = self.config, self.policy.compute_dtype
        x = zero_padding(wave[:, :, None], lengths)
        x = _conv(config.encoder_width, 7, dtype, "in")(x)
        for i, stride in enumerate(config.strides):
            x, lengths = EncoderBlock(stride, self.policy, name=f"block_{i}")(x, lengths)
        x = zero_padding(Snake(name="snake")(x), lengths)
        out = _conv(config.latent_width, 3, dtype, "out", initial_gain=_LATENT_GAIN)
        return out(x).astype(jnp.float32), lengths

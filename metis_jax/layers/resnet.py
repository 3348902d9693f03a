"""Visual front end: one spatio-temporal convolution and a ResNet-18 per frame (arXiv 2303.14307 section 3).

Reference: `Conv3dResNet` of the Auto-AVSR lip readers with swish activations, to 1e-4 relative.  ResNet-18 is fixed by
its name, so its sizes are constants here.
"""

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.layers.dense import partitioned
from metis_jax.layers.norms import BatchNorm
from metis_jax.ops.lengths import valid_mask
from metis_jax.types import CHANNELS, Array, Bool, DType, Float, Int

STEM_CHANNELS = 64
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block
BLOCKS_PER_STAGE = 2

_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def _conv(features: int, width: tuple[int, ...], stride: tuple[int, ...], dtype: DType, name: str) -> nn.Conv:
    """A bias-free convolution padded by half its width on every side."""
    return nn.Conv(
        features,
        width,
        stride,
        padding=[(side // 2, side // 2) for side in width],
        use_bias=False,
        dtype=dtype,
        kernel_init=partitioned(_kernel_init, *(None,) * (len(width) + 1), CHANNELS),
        name=name,
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is a strided 1x1 convolution where the shape changes."""

    channels: int
    stride: int
    dtype: DType

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], is_valid: Bool[Array, "b 1 1 1"], *, train: bool
    ) -> Float[Array, "b h2 w2 d"]:
        strides = (self.stride, self.stride)
        y = _conv(self.channels, (3, 3), strides, self.dtype, "conv1")(x)
        y = nn.silu(BatchNorm(self.dtype, name="norm1")(y, is_valid, train=train))
        y = _conv(self.channels, (3, 3), (1, 1), self.dtype, "conv2")(y)
        y = BatchNorm(self.dtype, name="norm2")(y, is_valid, train=train)
        if self.stride != 1:
            x = _conv(self.channels, (1, 1), strides, self.dtype, "shortcut")(x)
            x = BatchNorm(self.dtype, name="shortcut_norm")(x, is_valid, train=train)
        return nn.silu(x + y)


class VisualFrontEnd(nn.Module):
    """Grey mouth crops [b, t, h, w, 1] to one 512-wide vector per frame."""

    dtype: DType = jnp.float32

    @nn.compact
    def __call__(
        self, video: Float[Array, "b t h w 1"], lengths: Int[Array, " b"], *, train: bool
    ) -> Float[Array, "b t c"]:
        b, t = video.shape[:2]
        is_valid = valid_mask(lengths, t)[:, :, None, None, None]
        x = jnp.where(is_valid, video, jnp.zeros((), video.dtype)).astype(self.dtype)
        x = _conv(STEM_CHANNELS, (5, 7, 7), (1, 2, 2), self.dtype, "stem")(x)
        x = nn.silu(BatchNorm(self.dtype, name="stem_norm")(x, is_valid, train=train))
        x = x.reshape((b * t, *x.shape[2:]))
        is_valid = is_valid.reshape(b * t, 1, 1, 1)
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, (channels, stride) in enumerate(STAGES):
            for block in range(BLOCKS_PER_STAGE):
                name = f"stage{stage + 1}_block{block + 1}"
                x = ResidualBlock(channels, stride if block == 0 else 1, self.dtype, name=name)(
                    x, is_valid, train=train
                )
        return jnp.mean(x.astype(jnp.float32), axis=(1, 2)).astype(self.dtype).reshape(b, t, -1)

"""Visual front end: one spatio-temporal convolution and a ResNet-18 per frame (arXiv 2303.14307 section 3).

Reference: `Conv3dResNet` of the Auto-AVSR lip readers with swish activations, to 1e-4 relative.  ResNet-18 is fixed by
its name, but for how many channels it begins with: 64, or fewer in a small model.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax.layers.dense import partitioned
from metis_jax.layers.norms import BatchNorm
from metis_jax.ops.lengths import valid_mask
from metis_jax.types import CHANNELS, Array, Bool, DType, Float, Int

STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # channels, in those of the stem, and stride of the first block
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


class Stem(nn.Module):
    """A convolution over five pictures and 7x7 pixels, with every second pixel of the result.

    Written over pictures whose channels are the five: compilers for CPUs have no fast convolution in three dimensions,
    and one input channel leaves the units of the others idle.
    """

    channels: int
    dtype: DType

    @nn.compact
    def __call__(self, video: Float[Array, "b t h w 1"]) -> Float[Array, "bt h2 w2 c"]:
        b, t, h, w, _ = video.shape
        init = partitioned(_kernel_init, None, None, None, None, CHANNELS)
        kernel = self.param("kernel", init, (5, 7, 7, 1, self.channels)).astype(self.dtype)
        padded = jnp.pad(video, ((0, 0), (2, 2), (0, 0), (0, 0), (0, 0)))
        pictures = jnp.concatenate([padded[:, at : at + t] for at in range(5)], axis=-1)
        return jax.lax.conv_general_dilated(
            pictures.reshape(b * t, h, w, 5),
            jnp.moveaxis(kernel[:, :, :, 0], 0, 2),
            window_strides=(2, 2),
            padding=((3, 3), (3, 3)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
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
    """Grey mouth crops [b, t, h, w, 1] to one vector per frame, eight times as wide as the stem: 512."""

    stem_channels: int = 64
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(
        self, video: Float[Array, "b t h w 1"], lengths: Int[Array, " b"], *, train: bool
    ) -> Float[Array, "b t c"]:
        b, t = video.shape[:2]
        is_valid = valid_mask(lengths, t)[:, :, None, None, None]
        x = jnp.where(is_valid, video, jnp.zeros((), video.dtype)).astype(self.dtype)
        is_valid = is_valid.reshape(b * t, 1, 1, 1)
        x = Stem(self.stem_channels, self.dtype, name="stem")(x)
        x = nn.silu(BatchNorm(self.dtype, name="stem_norm")(x, is_valid, train=train))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, (factor, stride) in enumerate(STAGES):
            for block in range(BLOCKS_PER_STAGE):
                name = f"stage{stage + 1}_block{block + 1}"
                x = ResidualBlock(factor * self.stem_channels, stride if block == 0 else 1, self.dtype, name=name)(
                    x, is_valid, train=train
                )
        return jnp.mean(x.astype(jnp.float32), axis=(1, 2)).astype(self.dtype).reshape(b, t, -1)

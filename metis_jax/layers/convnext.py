"""The Vocos backbone: ConvNeXt blocks over frames (arXiv 2306.00814 section 3.2).

Reference: `ConvNeXtBlock` and `VocosBackbone` in `models/codec/amphion_codec/vocos.py` (and its copy in
`models/codec/kmeans/vocos.py`).  Matches it to 1e-5 relative.  Padded frames are zeroed before every convolution, so
that they act as the zeros which the reference's convolutions put at the end of an unpadded input.
"""

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.layers.conv import Conv1d
from metis_jax.layers.dense import Dense, partitioned, truncated_init
from metis_jax.layers.norms import LayerNorm
from metis_jax.layers.stack import run_stack
from metis_jax.ops.lengths import zero_padding
from metis_jax.types import CHANNELS, EMBED, MLP, Array, DType, Float, Int, Policy

_KERNEL = {"width": 7, "padding": (3, 3)}
_EPSILON = 1e-6


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, LayerNorm and a GELU network, scaled per channel and added to the input."""

    mlp_width: int
    layer_scale: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> tuple[Float[Array, "b t d"], None]:
        width, dtype = x.shape[-1], self.dtype
        y = zero_padding(x, lengths)
        y = Conv1d(width, groups=width, axes=(None, EMBED), dtype=dtype, name="conv", **_KERNEL)(y)
        y = LayerNorm(_EPSILON, dtype=dtype, name="norm")(y)
        y = Dense(self.mlp_width, (EMBED, MLP), dtype=dtype, kernel_init=truncated_init, name="up")(y)
        y = nn.gelu(y, approximate=False)
        y = Dense(width, (MLP, EMBED), dtype=dtype, kernel_init=truncated_init, name="down")(y)
        scale = self.param("scale", partitioned(nn.initializers.constant(self.layer_scale), EMBED), (width,))
        return x + y * jnp.broadcast_to(scale.astype(dtype), y.shape), None


class VocosBackbone(nn.Module):
    """A convolution into the residual width, `num_layers` ConvNeXt blocks, LayerNorm."""

    width: int
    mlp_width: int
    num_layers: int
    policy: Policy = Policy()

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"], lengths: Int[Array, " b"]) -> Float[Array, "b t d"]:
        dtype = self.policy.compute_dtype
        x = Conv1d(self.width, axes=(CHANNELS, EMBED), dtype=dtype, name="embed", **_KERNEL)(zero_padding(x, lengths))
        x = LayerNorm(_EPSILON, dtype=dtype, name="norm")(x)
        x = run_stack(
            ConvNeXtBlock,
            self.num_layers,
            self.policy,
            x,
            lengths,
            mlp_width=self.mlp_width,
            layer_scale=1 / self.num_layers,
            dtype=dtype,
        )
        return LayerNorm(_EPSILON, dtype=dtype, name="final_norm")(x)

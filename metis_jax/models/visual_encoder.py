"""Lip features: mouth crops at 25 fps to the vectors that condition lip-to-speech (Metis section 4).

Reference: the visual half of the Auto-AVSR / LRS3 lip reader (arXiv 2303.14307), a 3-D convolution and ResNet-18 before
a relative-position Conformer, to 1e-4 relative.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.config import VisualEncoderConfig
from metis_jax.layers.conformer import VISUAL_EPSILON, VisualConformerBlock
from metis_jax.layers.dense import Dense
from metis_jax.layers.norms import LayerNorm
from metis_jax.layers.relative import distance_sinusoids
from metis_jax.layers.resnet import VisualFrontEnd
from metis_jax.layers.stack import run_stack
from metis_jax.types import CHANNELS, EMBED, Array, Float, Int, Policy, UInt8

_MEAN, _DEVIATION = 0.421, 0.165  # of grey levels from 0 to 1, as the published encoders saw them


def standardized(crops: UInt8[Array, "b t h w"]) -> Float[Array, "b t h w 1"]:
    """Grey levels from 0 to 255 as `VisualEncoder` takes them."""
    return (crops[..., None].astype(jnp.float32) / 255 - _MEAN) / _DEVIATION


class VisualEncoder(nn.Module):
    """Grey crops [b, t, 88, 88, 1], `standardized`, to [b, t, d].

    Variables: `params` and `batch_stats`.
    """

    config: VisualEncoderConfig
    policy: Policy = Policy()

    @nn.compact
    def __call__(
        self, video: Float[Array, "b t h w 1"], lengths: Int[Array, " b"], *, train: bool
    ) -> Float[Array, "b t d"]:
        config, dtype = self.config, self.policy.compute_dtype
        if video.shape[2:4] != (config.crop, config.crop):
            raise ValueError(
                f"video frames are {video.shape[2]}x{video.shape[3]}; crop them to {config.crop}x{config.crop} pixels"
            )
        x = VisualFrontEnd(config.stem_channels, dtype, name="frontend")(video, lengths, train=train)
        x = Dense(config.width, (CHANNELS, EMBED), dtype=dtype, name="projection")(x)
        x = x * jnp.asarray(math.sqrt(config.width), dtype)
        positions = distance_sinusoids(video.shape[1], config.width).astype(dtype)
        x = run_stack(
            VisualConformerBlock,
            config.num_layers,
            self.policy,
            x,
            lengths,
            positions,
            config=config,
            policy=self.policy,
            train=train,
        )
        return LayerNorm(VISUAL_EPSILON, dtype=dtype, name="final_norm")(x)

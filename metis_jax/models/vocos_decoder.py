"""The acoustic codec's decoder: a Vocos backbone (arXiv 2306.00814) and an inverse transform.

Reference: `CodecDecoder` in `models/codec/amphion_codec/codec.py`.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax.config import AcousticCodecConfig
from metis_jax.layers.convnext import VocosBackbone
from metis_jax.layers.dense import Dense, truncated_init
from metis_jax.ops.stft import hann_window, istft
from metis_jax.types import EMBED, Array, Float, Int, Policy

# The collection of what a checkpoint holds beside the trained parameters: the window of the inverse transform.
BUFFERS = "buffers"
_LARGEST_MAGNITUDE = 100.0


class VocosDecoder(nn.Module):
    """Summed code vectors to waves: a Vocos backbone that predicts magnitude and phase of every frame."""

    config: AcousticCodecConfig
    policy: Policy

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"], lengths: Int[Array, " b"]) -> Float[Array, "b l"]:
        config = self.config
        x = VocosBackbone(
            config.decoder_width, config.decoder_mlp_width, config.decoder_layers, self.policy, name="backbone"
        )(x, lengths)
        out = Dense(
            config.n_fft + 2, (EMBED, None), dtype=self.policy.compute_dtype, kernel_init=truncated_init, name="out"
        )
        log_magnitude, phase = jnp.split(out(x).astype(jnp.float32), 2, axis=-1)
        # The reference clips after the exponential, whose gradient would not be finite where it overflows.
        magnitude = jnp.exp(jnp.minimum(log_magnitude, jnp.float32(math.log(_LARGEST_MAGNITUDE))))
        spectrum = jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase))
        window = self.variable(BUFFERS, "window", lambda: jnp.asarray(hann_window(config.n_fft)))
        return istft(spectrum, window.value, config.hop, lengths)

"""How many frames each phone of a text lasts when read at an average tempo.

The authors released no duration predictor (MaskGCT section 3.3 describes a flow-matching one), so this one is ours and
matches nothing.  It is trained on total lengths alone: durations of single phones are whatever adds up.  The tempo of a
voice is left out of the model and put in by its user: a prompt that lasts r times as long as predicted speaks r times
as slowly as the average, and the text is stretched by r.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.config import DurationPredictorConfig
from metis_jax.layers.convnext import VocosBackbone
from metis_jax.layers.dense import Dense, Embedding
from metis_jax.ops.lengths import valid_mask
from metis_jax.types import EMBED, Array, Float, Int, Policy

# Where training starts: symbols of English, word boundaries included, come at some 15 a second.
TYPICAL_FRAMES = 3.4


class DurationPredictor(nn.Module):
    """Log frames of every phone, at 50 frames a second."""

    config: DurationPredictorConfig
    policy: Policy = Policy()

    @nn.compact
    def __call__(self, phones: Int[Array, "b p"], lengths: Int[Array, " b"]) -> Float[Array, "b p"]:
        config, dtype = self.config, self.policy.compute_dtype
        x = Embedding(config.phone_vocabulary, config.width, dtype, name="phone_embedding")(phones)
        x = VocosBackbone(config.width, config.mlp_width, config.num_layers, self.policy, name="backbone")(x, lengths)
        start = nn.initializers.constant(math.log(TYPICAL_FRAMES))
        return Dense(1, (EMBED, None), dtype=dtype, bias_init=start, name="out")(x)[:, :, 0].astype(jnp.float32)


def total_frames(log_frames: Float[Array, "b p"], lengths: Int[Array, " b"]) -> Float[Array, " b"]:
    """Frames of whole phone sequences."""
    frames = jnp.where(valid_mask(lengths, log_frames.shape[1]), jnp.exp(log_frames), jnp.float32(0))
    return jnp.sum(frames, axis=1)

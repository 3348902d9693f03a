"""What a visual encoder is asked while it learns (`training/trainers/visual_encoder.py`): what was heard, and said."""

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.config import LipHeadConfig
from metis_jax.layers.convnext import VocosBackbone
from metis_jax.layers.dense import Dense
from metis_jax.types import EMBED, VOCAB, Array, Float, Int, Policy


class LipHead(nn.Module):
    """SSL features of the speech that goes with lip features at its frame rate, and CTC's logits of its phones."""

    config: LipHeadConfig
    policy: Policy = Policy()

    @nn.compact
    def __call__(
        self, seen: Float[Array, "b t d"], lengths: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t c"], Float[Array, "b t v"]]:
        config, dtype = self.config, self.policy.compute_dtype
        x = VocosBackbone(config.width, config.mlp_width, config.num_layers, self.policy, name="backbone")(
            seen, lengths
        )
        features, ctc = (
            Dense(width, (EMBED, VOCAB), dtype=dtype, name=name)(x).astype(jnp.float32)
            for name, width in (("features", config.ssl_width), ("ctc", config.phone_vocabulary))
        )
        return features, ctc

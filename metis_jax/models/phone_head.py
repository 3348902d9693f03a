"""What a semantic codec is asked while it learns (`training/trainers/phonetic_codec.py`): which phones were said."""

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.config import PhoneHeadConfig
from metis_jax.layers.convnext import VocosBackbone
from metis_jax.layers.dense import Dense
from metis_jax.types import EMBED, VOCAB, Array, Float, Int, Policy


class PhoneHead(nn.Module):
    """Logits of the phone of every frame, and those of CTC, of the vectors that codes stand for."""

    config: PhoneHeadConfig
    policy: Policy = Policy()

    @nn.compact
    def __call__(
        self, vectors: Float[Array, "b t d"], lengths: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t v"], Float[Array, "b t v"]]:
        config, dtype = self.config, self.policy.compute_dtype
        x = VocosBackbone(config.width, config.mlp_width, config.num_layers, self.policy, name="backbone")(
            vectors, lengths
        )
        frame, ctc = (
            Dense(config.phone_vocabulary, (EMBED, VOCAB), dtype=dtype, name=name)(x).astype(jnp.float32)
            for name in ("frame", "ctc")
        )
        return frame, ctc

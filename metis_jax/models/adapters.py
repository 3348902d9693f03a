"""Condition adapters: frame-aligned features of a task into the residual stream (Metis section 3.2).

Reference: `SimpleAdapter` (gated) and the plain MLP that lip-to-speech uses, in `models/tts/metis/metis_model.py`.
"""

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.layers.dense import Mlp, partitioned
from metis_jax.types import EMBED, Array, DType, Float


class ConditionAdapter(nn.Module):
    """Linear, SiLU, Linear; `gated` multiplies the result by a scalar that starts at zero."""

    features: int
    gated: bool
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, condition: Float[Array, "b t c"]) -> Float[Array, "b t d"]:
        y = Mlp(self.features, 4 * self.features, (None, EMBED), dtype=self.dtype, name="mlp")(condition)
        if self.gated:
            gate = self.param("gate", partitioned(nn.initializers.zeros, None), (1,))
            y = y * jnp.broadcast_to(gate.astype(self.dtype), y.shape)
        return y

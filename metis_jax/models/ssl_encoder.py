"""SSL encoder: w2v-BERT 2.0 (arXiv 2312.05187) up to the hidden state that Metis reads.

Reference: `Wav2Vec2BertModel` of transformers with "relative_key" positions, to 1e-4 relative.  Only
`config.hidden_layer` layers are built.  The hidden state, normalised by fixed per-channel statistics, is the "SSL
feature" of the paper (section 3.1).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax.config import SslEncoderConfig
from metis_jax.layers.conformer import SSL_EPSILON, CausalConformerBlock
from metis_jax.layers.dense import Dense, partitioned
from metis_jax.layers.norms import LayerNorm
from metis_jax.layers.stack import run_stack
from metis_jax.ops.lengths import zero_padding
from metis_jax.types import EMBED, Array, Bool, Float, Int, Policy


def normalize_features(
    hidden: Float[Array, "b t d"], mean: Float[Array, " d"], variance: Float[Array, " d"]
) -> Float[Array, "b t d"]:
    """SSL features from hidden states, in float32."""
    # The reference divides by the root without an epsilon; so do we.
    return (hidden.astype(jnp.float32) - mean[None, None, :]) * jax.lax.rsqrt(variance)[None, None, :]


class SslEncoder(nn.Module):
    """Stacked log-mel frames to contextual states.

    Variables: `params`, and `statistics` {mean, variance}, which are data, not parameters.

    `lengths` are the frames that may be attended to.  The first frame of padding still gets the state that the
    reference gives it, which an odd count of log-mel frames needs (`ops.mel.emitted_lengths`).
    """

    config: SslEncoderConfig
    policy: Policy = Policy()

    def setup(self):
        width = self.config.feature_width
        self.mean = self.variable("statistics", "mean", jnp.zeros, (width,), jnp.float32)
        self.variance = self.variable("statistics", "variance", jnp.ones, (width,), jnp.float32)

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "b t c"],
        lengths: Int[Array, " b"],
        *,
        is_masked: Bool[Array, "b t"] | None = None,
        deterministic: bool,
    ) -> Float[Array, "b t d"]:
        """The hidden state after `config.hidden_layer` layers.

        Frames where `is_masked` are replaced by the mask embedding, for training by masked prediction.
        """
        config, dtype = self.config, self.policy.compute_dtype
        x = LayerNorm(SSL_EPSILON, None, dtype, name="feature_norm")(features)
        x = Dense(config.width, (None, EMBED), dtype=dtype, name="feature_projection")(x)
        mask_embedding = self.param("mask_embedding", partitioned(nn.initializers.uniform(1.0), EMBED), (config.width,))
        if is_masked is not None:
            x = jnp.where(is_masked[:, :, None], mask_embedding.astype(dtype)[None, None, :], x)
        x = zero_padding(x, lengths)
        if config.hidden_layer == 0:
            return x
        x = nn.Dropout(config.dropout, name="dropout")(x, deterministic=deterministic)
        return run_stack(
            CausalConformerBlock,
            config.hidden_layer,
            self.policy,
            x,
            lengths,
            config=config,
            policy=self.policy,
            deterministic=deterministic,
        )

    def features(self, features: Float[Array, "b t c"], lengths: Int[Array, " b"]) -> Float[Array, "b t d"]:
        """Normalised SSL features, float32, as the frozen encoder of every later model gives them."""
        hidden = self(features, lengths, deterministic=True)
        return normalize_features(hidden, self.mean.value, self.variance.value)

"""The semantic codec: SSL features to one token per frame and back (MaskGCT section 3.2.1).

Reference: `RepCodec` in `models/codec/kmeans/repcodec_model.py`.  Codes equal it exactly, floats to 1e-4 relative.
"""

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.config import SemanticCodecConfig
from metis_jax.layers.convnext import VocosBackbone
from metis_jax.layers.dense import Dense, truncated_init
from metis_jax.layers.quantizer import FactorizedQuantizer, QuantizerOutput
from metis_jax.types import EMBED, Array, Float, Int, Policy


class _Tower(nn.Module):
    """A Vocos backbone and a projection to the feature width; encoder and decoder are one each."""

    config: SemanticCodecConfig
    policy: Policy

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"], lengths: Int[Array, " b"]) -> Float[Array, "b t c"]:
        config = self.config
        x = VocosBackbone(config.width, config.mlp_width, config.num_layers, self.policy, name="backbone")(x, lengths)
        dense = Dense(
            config.feature_width, (EMBED, None), dtype=self.policy.compute_dtype, kernel_init=truncated_init, name="out"
        )
        return dense(x).astype(jnp.float32)


class SemanticCodec(nn.Module):
    """Vector-quantized autoencoder of SSL features; `__call__` is its training pass."""

    config: SemanticCodecConfig
    policy: Policy = Policy()

    def setup(self):
        config = self.config
        self.quantizer = FactorizedQuantizer(config.feature_width, config.codebook_size, config.code_width)
        self.encoder = _Tower(config, self.policy)
        self.decoder = _Tower(config, self.policy)

    def __call__(
        self, features: Float[Array, "b t d"], lengths: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t d"], QuantizerOutput]:
        """Reconstructed features and what the quantizer found."""
        output = self.quantizer(self.latents(features, lengths), lengths)
        return self.decoder(output.quantized, lengths), output

    def latents(self, features: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> Float[Array, "b t d"]:
        """The encoder's output, before quantization."""
        return self.encoder(features, lengths)

    def encode(self, features: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> Int[Array, "b t"]:
        """SSL tokens of normalised SSL features."""
        return self.quantize(features, lengths)[0]

    def quantize(
        self, features: Float[Array, "b t d"], lengths: Int[Array, " b"]
    ) -> tuple[Int[Array, "b t"], Float[Array, "b t d"]]:
        """SSL tokens and the vectors they stand for."""
        output = self.quantizer(self.latents(features, lengths), lengths)
        return output.codes[:, :, 0], output.quantized

    def embed(self, codes: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        """The vectors that tokens stand for."""
        return self.quantizer.embed(codes)

    def decode(
        self, codes: Int[Array, "b t"] | Float[Array, "b t d"], lengths: Int[Array, " b"]
    ) -> Float[Array, "b t d"]:
        """SSL features from tokens, or from their vectors."""
        return self.decoder(self.embed(codes) if codes.ndim == 2 else codes, lengths)

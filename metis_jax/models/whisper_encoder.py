"""The encoder of Whisper (arXiv 2212.04356), read at a hidden layer: phonetic features at 50 Hz.

Reference: `WhisperEncoder` of transformers.  Only `config.hidden_layer` layers are built.  Their hidden state,
normalised by fixed per-channel statistics as that of w2v-BERT is, can stand for SSL features.  Whisper runs over 30 s,
silence behind the words included; here every row of a batch ends with its own `lengths`, and gives what it would give
alone.  Positions are the reference's sinusoids, computed, so a row may also be longer.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from metis_jax.config import WhisperEncoderConfig
from metis_jax.layers.attention import attention
from metis_jax.layers.conv import Conv1d
from metis_jax.layers.dense import Dense
from metis_jax.layers.norms import LayerNorm
from metis_jax.layers.stack import run_stack
from metis_jax.models.ssl_encoder import normalize_features
from metis_jax.ops.lengths import zero_padding
from metis_jax.types import EMBED, HEADS, MLP, Array, Float, Int, Policy

EPSILON = 1e-5


def sinusoids(t: int, width: int) -> np.ndarray:
    """Positions [t, width]: sines of falling frequencies, then cosines of the same."""
    rates = np.exp(-np.log(10000.0) * np.arange(width // 2) / (width // 2 - 1))
    angles = np.arange(t)[:, None] * rates[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def encoded_frames(mel_frames: Int[Array, " b"]) -> Int[Array, " b"]:
    """Frames that the encoder makes of `mel_frames` log-mel frames."""
    return -(-mel_frames // 2)


def _gelu(x: Array) -> Array:
    return nn.gelu(x, approximate=False)


class WhisperBlock(nn.Module):
    """Pre-norm transformer block; the key projection has no bias."""

    config: WhisperEncoderConfig
    policy: Policy

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> tuple[Float[Array, "b t d"], None]:
        config, dtype = self.config, self.policy.compute_dtype
        heads = (config.num_heads, config.head_width)
        y = LayerNorm(EPSILON, dtype=dtype, name="attention_norm")(x)

        def project(name: str) -> Float[Array, "b t n h"]:
            dense = Dense(config.width, (EMBED, HEADS), use_bias=name != "key", dtype=dtype, name=name)
            return dense(y).reshape(y.shape[:2] + heads)

        q, k, v = project("query"), project("key"), project("value")
        y = attention(q, k, v, lengths, backend=self.policy.attention).reshape(x.shape)
        x = x + Dense(config.width, (HEADS, EMBED), dtype=dtype, name="out")(y)
        y = LayerNorm(EPSILON, dtype=dtype, name="mlp_norm")(x)
        y = _gelu(Dense(config.mlp_width, (EMBED, MLP), dtype=dtype, name="mlp_in")(y))
        return x + Dense(config.width, (MLP, EMBED), dtype=dtype, name="mlp_out")(y), None


class WhisperEncoder(nn.Module):
    """Log-mel frames (`ops.whisper_mel`) to contextual states, half as many.

    Variables: `params`, and `statistics` {mean, variance}, which are data, not parameters.
    """

    config: WhisperEncoderConfig
    policy: Policy = Policy()

    def setup(self):
        width = self.config.feature_width
        self.mean = self.variable("statistics", "mean", jnp.zeros, (width,), jnp.float32)
        self.variance = self.variable("statistics", "variance", jnp.ones, (width,), jnp.float32)

    @nn.compact
    def __call__(self, features: Float[Array, "b t m"], lengths: Int[Array, " b"]) -> Float[Array, "b t2 d"]:
        """The hidden state after `config.hidden_layer` layers; the norm behind the last one is left out.

        `lengths` counts log-mel frames; `encoded_frames` of it are valid in what comes out.
        """
        config, dtype = self.config, self.policy.compute_dtype
        x = zero_padding(features.astype(dtype), lengths)
        x = _gelu(Conv1d(config.width, 3, padding=(1, 1), axes=(None, EMBED), dtype=dtype, name="conv1")(x))
        x = zero_padding(x, lengths)
        x = _gelu(Conv1d(config.width, 3, padding=(1, 1), stride=2, axes=(None, EMBED), dtype=dtype, name="conv2")(x))
        x = x + jnp.asarray(sinusoids(x.shape[1], config.width), dtype)[None]
        if config.hidden_layer:
            x = run_stack(
                WhisperBlock,
                config.hidden_layer,
                self.policy,
                x,
                encoded_frames(lengths),
                config=config,
                policy=self.policy,
            )
        return x

    def features(self, features: Float[Array, "b t m"], lengths: Int[Array, " b"]) -> Float[Array, "b t2 d"]:
        """The hidden state, normalised, in float32."""
        return normalize_features(self(features, lengths), self.mean.value, self.variance.value)

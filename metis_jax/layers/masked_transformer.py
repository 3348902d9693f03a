"""The transformer of both generators: bidirectional Llama blocks whose norms see the diffusion time.

MaskGCT section 3.2.2; reference `models/tts/maskgct/llama_nar.py` (DiffLlama, DiffLlamaPrefix).  Matches it to 1e-5.
"""

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
import numpy as np

from metis_jax.config import LoraConfig, TransformerConfig
from metis_jax.layers.attention import SelfAttention
from metis_jax.layers.dense import Mlp, Projection
from metis_jax.layers.norms import AdaptiveRMSNorm
from metis_jax.layers.stack import run_stack
from metis_jax.ops.rope import rotary_angles
from metis_jax.types import BATCH, EMBED, MLP, TIME, Array, Float, Int, Policy


@flax.struct.dataclass
class Sequences:
    """What the transformer reads: in every row one right-padded sequence, or several, one behind the other.

    A frame attends to its own sequence alone; everything else of a block sees a row as one run of frames.

    Attributes:
      sizes: frames of each sequence, padding included; they add up to t.
    """

    x: Float[Array, "b t d"]
    lengths: Int[Array, "b k"]
    positions: Float[Array, "b t"]
    sizes: tuple[int, ...] = flax.struct.field(pytree_node=False)

    @classmethod
    def one(
        cls, x: Float[Array, "b t d"], lengths: Int[Array, " b"], positions: Float[Array, "b t"] | None = None
    ) -> "Sequences":
        """A single sequence per row, by default at positions 0, 1, ...."""
        if positions is None:
            positions = jnp.broadcast_to(jnp.arange(x.shape[1], dtype=jnp.float32)[None, :], x.shape[:2])
        return cls(x, lengths[:, None], positions, (x.shape[1],))

    def before(self, other: "Sequences") -> "Sequences":
        """These, and `other` behind them in every row."""

        def join(one: Array, two: Array) -> Array:
            return jnp.concatenate([one, two], axis=1)

        positions = join(self.positions, other.positions)
        return Sequences(join(self.x, other.x), join(self.lengths, other.lengths), positions, self.sizes + other.sizes)


def time_embedding(time: Float[Array, " b"], width: int) -> Float[Array, "b d"]:
    """Sinusoids of the unscaled time in [0, 1], sines first; frequencies run down to 1e-4 inclusive."""
    half = width // 2
    frequencies = np.exp(np.arange(half, dtype=np.float32) * np.float32(-np.log(10000.0) / (half - 1)))
    angles = time[:, None].astype(jnp.float32) * jnp.asarray(frequencies)[None, :]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class SwiGlu(nn.Module):
    """down(silu(gate(x)) * up(x)), without biases (arXiv 2002.05202)."""

    config: TransformerConfig
    policy: Policy
    lora: LoraConfig | None
    deterministic: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        def project(name: str, features: int, axes: tuple[str, str], y: Array) -> Array:
            layer = Projection(features, axes, self.lora, self.policy.compute_dtype, name=name)
            return layer(y, deterministic=self.deterministic)

        hidden = self.config.mlp_width
        gate = project("gate", hidden, (EMBED, MLP), x)
        up = project("up", hidden, (EMBED, MLP), x)
        return project("down", self.config.width, (MLP, EMBED), nn.silu(gate) * up)


class Block(nn.Module):
    """Attention and SwiGLU, each behind a time-conditioned norm."""

    config: TransformerConfig
    policy: Policy
    lora: LoraConfig | None
    sizes: tuple[int, ...]
    deterministic: bool

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t d"],
        time: Float[Array, "b d"],
        lengths: Int[Array, "b k"],
        angles: Float[Array, "b t h2"],
    ) -> tuple[Float[Array, "b t d"], None]:
        shared = (self.config, self.policy, self.lora)
        norm = {"epsilon": self.config.norm_epsilon, "dtype": self.policy.compute_dtype}
        x = nn.with_logical_constraint(x, (BATCH, TIME, EMBED))
        y = AdaptiveRMSNorm(**norm, name="attention_norm")(x, time)
        x = x + SelfAttention(*shared, self.sizes, self.deterministic, name="attention")(y, lengths, angles)
        y = AdaptiveRMSNorm(**norm, name="mlp_norm")(x, time)
        x = x + SwiGlu(*shared, self.deterministic, name="mlp")(y)
        return nn.with_logical_constraint(x, (BATCH, TIME, EMBED)), None


class MaskedTransformer(nn.Module):
    """Embeds the time and runs the stack; inputs are already embeddings."""

    config: TransformerConfig
    policy: Policy
    lora: LoraConfig | None = None

    @nn.compact
    def __call__(self, sequences: Sequences, time: Float[Array, " b"], *, deterministic: bool) -> Float[Array, "b t d"]:
        config, dtype = self.config, self.policy.compute_dtype
        embedded = time_embedding(time, config.width)
        embedded = Mlp(config.width, 4 * config.width, (None, EMBED), dtype=dtype, name="time_mlp")(embedded)
        angles = rotary_angles(sequences.positions, config.head_width, config.rope_base)
        fields = {
            "config": config,
            "policy": self.policy,
            "lora": self.lora,
            "sizes": sequences.sizes,
            "deterministic": deterministic,
        }
        x, lengths = sequences.x.astype(dtype), sequences.lengths
        x = run_stack(Block, config.num_layers, self.policy, x, embedded, lengths, angles, **fields)
        return AdaptiveRMSNorm(config.norm_epsilon, dtype=dtype, name="final_norm")(x, embedded)

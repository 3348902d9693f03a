"""Stage 2, the acoustic generator: acoustic tokens from SSL tokens, one quantizer level at a time (MaskGCT 3.2.3).

Reference: `MaskGCT_S2A` in `models/tts/maskgct/maskgct_s2a.py`.  Matches it to 1e-4 relative.
"""

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.config import AcousticGeneratorConfig
from metis_jax.layers.dense import Embedding, Mlp, gathered, normal_init, partitioned
from metis_jax.layers.masked_transformer import MaskedTransformer, Sequences
from metis_jax.ops import lengths as ragged
from metis_jax.types import EMBED, LEVELS, VOCAB, Array, Bool, Float, Int, Policy


class AcousticGenerator(nn.Module):
    """Predicts the tokens of one level at its masked frames, given SSL tokens and the levels below.

    One program serves every level: the tables of all levels are stacked, and `level` is an array.
    """

    config: AcousticGeneratorConfig
    policy: Policy = Policy()

    def setup(self):
        config, dtype = self.config, self.policy.compute_dtype
        q, v, d = config.num_levels, config.codebook_size, config.width
        self.mask_embedding = self.param("mask_embedding", partitioned(normal_init, EMBED), (d,))
        self.token_tables = self.param("token_tables", partitioned(normal_init, LEVELS, VOCAB, EMBED), (q, v, d))
        self.logits_kernel = self.param("logits_kernel", partitioned(normal_init, LEVELS, EMBED, VOCAB), (q, d, v))
        self.logits_bias = self.param("logits_bias", partitioned(nn.initializers.zeros, LEVELS, VOCAB), (q, v))
        self.level_embedding = Embedding(q, d, dtype)
        self.semantic_embedding = Embedding(config.semantic_codebook_size, d, dtype)
        self.condition_mlp = Mlp(d, 4 * d, (EMBED, EMBED), dtype)
        self.transformer = MaskedTransformer(config.transformer, self.policy)

    def embed_tokens(
        self,
        tokens: Int[Array, "b t q"],
        level: Int[Array, " b"],
        is_masked: Bool[Array, "b t"],
        is_prompt: Bool[Array, "b t"],
    ) -> Float[Array, "b t d"]:
        """Sum over levels: tokens below `level` and, in the prompt, above it; the mask embedding elsewhere."""
        levels = jnp.arange(self.config.num_levels, dtype=jnp.int32)
        below = (levels[None, :] < level[:, None])[:, None, :]
        current = (levels[None, :] == level[:, None])[:, None, :]
        is_known = below | (current & ~is_masked[:, :, None]) | (~current & is_prompt[:, :, None])
        dtype = self.policy.compute_dtype
        vectors = gathered(self.token_tables.astype(dtype), LEVELS, VOCAB, EMBED)[levels[None, None, :], tokens]
        mask = self.mask_embedding.astype(dtype)[None, None, None, :]
        return jnp.sum(jnp.where(is_known[:, :, :, None], vectors, mask), axis=2)

    def __call__(
        self,
        semantic_tokens: Int[Array, "b t"],
        tokens: Int[Array, "b t q"],
        level: Int[Array, " b"],
        is_masked: Bool[Array, "b t"],
        is_prompt: Bool[Array, "b t"],
        time: Float[Array, " b"],
        *,
        lengths: Int[Array, " b"],
    ) -> Float[Array, "b t d"]:
        """Hidden states of the frames, from which `logits` predicts tokens of `level`.

        Args:
          semantic_tokens: SSL tokens of prompt and target.
          tokens: acoustic tokens; values that the model may not see are ignored.
          level: the level being predicted, per row, from 0.
          is_masked: True where the token of `level` is hidden.
          is_prompt: True where the frame belongs to the prompt, whose every level is known.
          time: diffusion time in [0, 1]; 1 is fully masked.
          lengths: valid frames, prompt included.
        """
        x = self._embed(semantic_tokens, tokens, level, is_masked, is_prompt)
        return self.transformer(Sequences.one(x, lengths), time, deterministic=True)

    def with_and_without_prompt(
        self,
        semantic_tokens: Int[Array, "b t"],
        tokens: Int[Array, "b t q"],
        level: Int[Array, " b"],
        is_masked: Bool[Array, "b t"],
        time: Float[Array, " b"],
        *,
        prompt_lengths: Int[Array, " b"],
        lengths: Int[Array, " b"],
        target_frames: int,
    ) -> tuple[Float[Array, "b t d"], Float[Array, "b u d"]]:
        """Hidden states with and without the prompt, in one pass; arguments as above.

        Without it the target stands alone, at the start of `target_frames` frames, which hold every row's target.
        """
        is_prompt = ragged.valid_mask(prompt_lengths, tokens.shape[1])
        x = self._embed(semantic_tokens, tokens, level, is_masked, is_prompt)
        full = Sequences.one(x, lengths)
        bare = Sequences.one(ragged.take(x, prompt_lengths, target_frames), lengths - prompt_lengths)
        hidden = self.transformer(full.before(bare), time, deterministic=True)
        return hidden[:, : x.shape[1]], hidden[:, x.shape[1] :]

    def _embed(
        self,
        semantic_tokens: Int[Array, "b t"],
        tokens: Int[Array, "b t q"],
        level: Int[Array, " b"],
        is_masked: Bool[Array, "b t"],
        is_prompt: Bool[Array, "b t"],
    ) -> Float[Array, "b t d"]:
        condition = self.semantic_embedding(semantic_tokens) + self.level_embedding(level)[:, None, :]
        return self.embed_tokens(tokens, level, is_masked, is_prompt) + self.condition_mlp(condition)

    def logits(self, hidden: Float[Array, "b t d"], level: Int[Array, " b"]) -> Float[Array, "b t v"]:
        """Float32 logits over the codebook of each row's level."""
        dtype = self.policy.compute_dtype
        kernel = jnp.take(gathered(self.logits_kernel.astype(dtype), LEVELS, EMBED, VOCAB), level, axis=0)
        bias = jnp.take(self.logits_bias.astype(dtype), level, axis=0)
        y = jnp.einsum("btd,bdv->btv", hidden, kernel) + jnp.broadcast_to(
            bias[:, None, :], hidden.shape[:2] + bias.shape[-1:]
        )
        return y.astype(jnp.float32)

    def init_all(self, tokens: Int[Array, "b t q"]) -> Float[Array, "b t v"]:
        """Touches every parameter; for `init`."""
        b, t, _ = tokens.shape
        level = jnp.zeros((b,), jnp.int32)
        nothing = jnp.zeros((b, t), bool)
        hidden = self(
            tokens[:, :, 0],
            tokens,
            level,
            nothing,
            nothing,
            jnp.ones((b,), jnp.float32),
            lengths=ragged.full_lengths(b, t),
        )
        return self.logits(hidden, level)

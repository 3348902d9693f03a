"""Stage 1, the semantic generator: masked generative modelling of SSL tokens (Metis section 3; MaskGCT section 3.2.2).

Reference: `MetisStage1` in `models/tts/metis/metis_model.py` over `MaskGCT_T2S`.  Matches it to 1e-4 relative.
"""

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.config import LoraConfig, SemanticGeneratorConfig
from metis_jax.layers.dense import Dense, Embedding, Mlp, normal_init, partitioned
from metis_jax.layers.masked_transformer import MaskedTransformer, Sequences
from metis_jax.models.adapters import ConditionAdapter
from metis_jax.ops import lengths as ragged
from metis_jax.types import EMBED, VOCAB, Array, Bool, Float, Int, Policy


class SemanticGenerator(nn.Module):
    """Predicts SSL tokens at masked frames from the unmasked ones, optional phones and an optional condition.

    Prompt and target are one sequence: a prompt is simply a run of frames that are not masked.

    Attributes:
      config: sizes; which conditions exist.
      policy: how to execute.
      lora: adds low-rank adapters to the seven projections of every block.
    """

    config: SemanticGeneratorConfig
    policy: Policy = Policy()
    lora: LoraConfig | None = None

    def setup(self):
        config, dtype = self.config, self.policy.compute_dtype
        self.mask_embedding = self.param("mask_embedding", partitioned(normal_init, EMBED), (config.width,))
        self.token_embedding = Embedding(config.codebook_size, config.width, dtype)
        if config.phone_vocabulary:
            self.phone_embedding = Embedding(config.phone_vocabulary, config.width, dtype)
            self.phone_mlp = Mlp(config.width, 4 * config.width, (EMBED, EMBED), dtype)
        if config.condition != "none":
            self.condition_adapter = ConditionAdapter(config.width, config.condition == "gated", dtype)
        self.transformer = MaskedTransformer(config.transformer, self.policy, self.lora)
        self.to_logits = Dense(config.codebook_size, (EMBED, VOCAB), dtype=dtype)

    def __call__(
        self,
        tokens: Int[Array, "b t"],
        is_masked: Bool[Array, "b t"],
        time: Float[Array, " b"],
        *,
        lengths: Int[Array, " b"],
        phones: Int[Array, "b p"] | None = None,
        phone_lengths: Int[Array, " b"] | None = None,
        phone_positions: Float[Array, "b p"] | None = None,
        condition: Float[Array, "b t c"] | None = None,
        has_condition: Bool[Array, " b"] | None = None,
        positions: Float[Array, "b pt"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "b t d"]:
        """Hidden states of the frames, from which `logits` predicts tokens.

        Args:
          tokens: SSL tokens; values at masked frames are ignored.
          is_masked: True where the token is hidden from the model.
          time: diffusion time in [0, 1]; 1 is fully masked.
          lengths: valid frames, prompt included.
          phones, phone_lengths: phone prefix; a row with `phone_lengths` 0 has none.
          phone_positions: for a model with `spread_phones` the frame at which each phone is said; a row whose first
            is negative does not know.
          condition: features aligned with the frames.  A model that has an adapter runs without one, too: that is
            how Omni reads text alone.
          has_condition: rows that have one, in a batch where others do not; by default all.
          positions: rotary positions of phones then frames, before padding is squeezed out, in place of what the config
            says; counted through, the padding of the phones takes none (the reference, which never batches, counts it).
          deterministic: False draws LoRA dropout from the "dropout" stream.
        """
        phone_lengths = self._phone_lengths(phones, phone_lengths)
        x = self._embed(tokens, is_masked, condition, has_condition)
        sequence = self._behind_phones(x, lengths, phones, phone_lengths, phone_positions, positions)
        hidden = self.transformer(sequence, time, deterministic=deterministic)
        return hidden if phones is None else ragged.take(hidden, phone_lengths, tokens.shape[1])

    def with_and_without_prompt(
        self,
        tokens: Int[Array, "b t"],
        is_masked: Bool[Array, "b t"],
        time: Float[Array, " b"],
        *,
        prompt_lengths: Int[Array, " b"],
        lengths: Int[Array, " b"],
        target_frames: int,
        phones: Int[Array, "b p"] | None = None,
        phone_lengths: Int[Array, " b"] | None = None,
        phone_positions: Float[Array, "b p"] | None = None,
        condition: Float[Array, "b t c"] | None = None,
        has_condition: Bool[Array, " b"] | None = None,
    ) -> tuple[Float[Array, "b t d"], Float[Array, "b u d"]]:
        """Hidden states with and without prompt and phones, in one pass; arguments as above.

        Without them the target stands alone, at the start of `target_frames` frames, which hold every row's target.
        """
        phone_lengths = self._phone_lengths(phones, phone_lengths)
        x = self._embed(tokens, is_masked, condition, has_condition)
        full = self._behind_phones(x, lengths, phones, phone_lengths, phone_positions, None)
        bare = Sequences.one(ragged.take(x, prompt_lengths, target_frames), lengths - prompt_lengths)
        hidden = self.transformer(full.before(bare), time, deterministic=True)
        start = jnp.zeros_like(lengths) if phones is None else phone_lengths
        return ragged.take(hidden, start, tokens.shape[1]), hidden[:, full.x.shape[1] :]

    def _phone_lengths(
        self, phones: Int[Array, "b p"] | None, phone_lengths: Int[Array, " b"] | None
    ) -> Int[Array, " b"] | None:
        if phones is not None and not self.config.phone_vocabulary:
            raise ValueError("phones were given to a model without a phone embedding; use a TTS or Omni generator")
        if phones is None or phone_lengths is not None:
            return phone_lengths
        return ragged.full_lengths(*phones.shape)

    def _embed(
        self,
        tokens: Int[Array, "b t"],
        is_masked: Bool[Array, "b t"],
        condition: Float[Array, "b t c"] | None,
        has_condition: Bool[Array, " b"] | None,
    ) -> Float[Array, "b t d"]:
        if condition is not None and self.config.condition == "none":
            raise ValueError("a condition was given to a model without an adapter; use a fine-tuned generator")
        mask = self.mask_embedding.astype(self.policy.compute_dtype)[None, None, :]
        x = jnp.where(is_masked[:, :, None], mask, self.token_embedding(tokens))
        if condition is None:
            return x
        update = self.condition_adapter(condition)
        if has_condition is not None:
            update = jnp.where(has_condition[:, None, None], update, jnp.zeros((), update.dtype))
        return x + update

    def _behind_phones(
        self,
        x: Float[Array, "b t d"],
        lengths: Int[Array, " b"],
        phones: Int[Array, "b p"] | None,
        phone_lengths: Int[Array, " b"] | None,
        phone_positions: Float[Array, "b p"] | None,
        positions: Float[Array, "b pt"] | None,
    ) -> Sequences:
        if phones is None:
            return Sequences.one(x, lengths, positions)
        prefix = self.phone_mlp(self.phone_embedding(phones))
        p = phones.shape[1]
        if positions is None and self.config.spread_phones:
            positions = _aligned_positions(phone_positions, phone_lengths, p, lengths, x.shape[1])
        if positions is not None:
            positions, _ = ragged.join(positions[:, :p], phone_lengths, positions[:, p:], lengths)
        x, total = ragged.join(prefix, phone_lengths, x, lengths)
        return Sequences.one(x, total, positions)

    def logits(self, hidden: Float[Array, "b t d"]) -> Float[Array, "b t v"]:
        """Float32 logits over the SSL codebook."""
        return self.to_logits(hidden).astype(jnp.float32)

    def init_all(self, tokens: Int[Array, "b t"]) -> Float[Array, "b t v"]:
        """Touches every parameter; for `init`."""
        config = self.config
        b, t = tokens.shape
        phones = jnp.zeros((b, 1), jnp.int32) if config.phone_vocabulary else None
        condition = None
        if config.condition != "none":
            condition = jnp.zeros((b, t, config.condition_width), jnp.float32)
        hidden = self(
            tokens,
            jnp.zeros(tokens.shape, bool),
            jnp.ones((b,), jnp.float32),
            lengths=ragged.full_lengths(b, t),
            phones=phones,
            condition=condition,
        )
        return self.logits(hidden)


def _aligned_positions(
    given: Float[Array, "b p"] | None, phone_lengths: Int[Array, " b"], p: int, lengths: Int[Array, " b"], t: int
) -> Float[Array, "b pt"]:
    """Frames 0, 1, ..., and phones as given, else evenly over the valid frames, each at the middle of its share."""
    share = lengths.astype(jnp.float32) / jnp.maximum(phone_lengths, 1).astype(jnp.float32)
    phones = (jnp.arange(p, dtype=jnp.float32) + 0.5)[None, :] * share[:, None] - 0.5
    if given is not None:
        phones = jnp.where(given[:, :1] < 0, phones, given)
    frames = jnp.broadcast_to(jnp.arange(t, dtype=jnp.float32)[None, :], (lengths.shape[0], t))
    return jnp.concatenate([phones, frames], axis=1)

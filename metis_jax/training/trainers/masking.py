"""The random masks of a generator's training step, drawn per row (Metis section 3.1; MaskGCT section 3.2)."""

import flax.struct
import jax
import jax.numpy as jnp

from metis_jax.ops.lengths import valid_mask
from metis_jax.ops.masking import sample_mask, sample_prompt_lengths, sample_times
from metis_jax.ops.schedules import mask_rate
from metis_jax.types import Array, Bool, Float, Int, Key


@flax.struct.dataclass
class Masks:
    """What a step hides of its rows, after `skipped` frames have left each of them.

    Attributes:
      time: of the diffusion.
      is_masked: frames to predict.
      is_hidden: frames whose token the model does not see: those, and any between prompt and target.
      prompt_lengths: frames at the start that are given.
      skipped: frames that are left out of the start of a row: the prompt that the data gave to a bare one.
      is_bare: rows as the unconditional pass of guidance sees them: without prompt, and so without phones.
    """

    time: Float[Array, " b"]
    is_masked: Bool[Array, "b t"]
    is_hidden: Bool[Array, "b t"]
    prompt_lengths: Int[Array, " b"]
    skipped: Int[Array, " b"]
    is_bare: Bool[Array, " b"]

    @property
    def is_prompt(self) -> Bool[Array, "b t"]:
        return valid_mask(self.prompt_lengths, self.is_masked.shape[1])


def draw_masks(
    key: Key[Array, ""],
    lengths: Int[Array, " b"],
    t: int,
    *,
    prompt_share: float,
    prompt_probability: float,
    minimum_rate: float,
    given_prompts: Int[Array, " b"] | None = None,
    target_starts: Int[Array, " b"] | None = None,
) -> Masks:
    """A time, a prompt and a mask for every row.

    Guidance subtracts what a model says without prompt and phones.  That pass has to be trained: the reference leaves
    the prompt out of 15% of all rows (`cfg_scale` in `models/tts/metis/metis_model.py`), drawn or given alike.

    Args:
      prompt_share: drawn prompts are shorter than this share of the row.
      prompt_probability: of having a prompt; the other rows are bare.
      minimum_rate: floor of the mask rate.
      given_prompts: prompt lengths that the data fixes; -1 where one is to be drawn.
      target_starts: the frames at which targets begin behind given prompts; by default where the prompts end.
    """
    time_key, bare_key, prompt_key, mask_key = jax.random.split(key, 4)
    time = sample_times(time_key, lengths.shape[0])
    is_bare = jax.random.bernoulli(bare_key, 1 - prompt_probability, lengths.shape)
    prompts = sample_prompt_lengths(prompt_key, lengths, share=prompt_share)
    if given_prompts is not None:
        prompts = jnp.where(given_prompts >= 0, given_prompts, prompts)
    none = jnp.zeros_like(prompts)
    starts = prompts if target_starts is None else jnp.maximum(target_starts, prompts)
    is_given = jnp.zeros_like(is_bare) if given_prompts is None else given_prompts >= 0
    skipped = jnp.where(is_bare & is_given, starts, none)
    prompts, starts = jnp.where(is_bare, none, prompts), jnp.where(is_bare, none, starts)
    rate = jnp.maximum(mask_rate(time), jnp.float32(minimum_rate))
    is_masked = sample_mask(mask_key, rate, starts, lengths - skipped, t)
    between = valid_mask(starts, t) & ~valid_mask(prompts, t)
    return Masks(time, is_masked, is_masked | between, prompts, skipped, is_bare)

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
    """time: of the diffusion; is_masked: frames to predict; prompt_lengths: frames at the start that are given."""

    time: Float[Array, " b"]
    is_masked: Bool[Array, "b t"]
    prompt_lengths: Int[Array, " b"]

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
) -> Masks:
    """A time, a prompt and a mask for every row.

    Args:
      prompt_share: drawn prompts are shorter than this share of the row.
      minimum_rate: floor of the mask rate.
      given_prompts: prompt lengths that the data fixes; -1 where one is to be drawn.
    """
    time_key, prompt_key, mask_key = jax.random.split(key, 3)
    time = sample_times(time_key, lengths.shape[0])
    prompts = sample_prompt_lengths(prompt_key, lengths, share=prompt_share, probability=prompt_probability)
    if given_prompts is not None:
        prompts = jnp.where(given_prompts >= 0, given_prompts, prompts)
    rate = jnp.maximum(mask_rate(time), jnp.float32(minimum_rate))
    return Masks(time, sample_mask(mask_key, rate, prompts, lengths, t), prompts)

"""The two generators under the masked decoder: prompts, and conditional and unconditional passes in one.

Guidance needs a second pass that drops phones and prompt and sees the target frames alone.  They lie behind the others
in the same row, so that both passes are one, none pads the other, and a batch sharded over devices stays where it is.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.decoding.guidance import guide
from metis_jax.decoding.masked_decode import Decoder, DecodeState, decode_steps
from metis_jax.models.acoustic_generator import AcousticGenerator
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.ops import lengths as ragged
from metis_jax.types import Array, Bool, Float, Int, Variables


@flax.struct.dataclass
class SemanticInputs:
    """What stage 1 knows; the tokens of the prompt are in its decode state.

    has_condition: rows that have one, in a batch where others do not; by default all.
    target_frames: static, no row's target is longer; None stands for all frames.  Guided passes cost so much more.
    """

    prompt_lengths: Int[Array, " b"]
    lengths: Int[Array, " b"]  # prompt and target
    phones: Int[Array, "b p"] | None = None
    phone_lengths: Int[Array, " b"] | None = None
    phone_positions: Float[Array, "b p"] | None = None
    condition: Float[Array, "b t c"] | None = None
    has_condition: Bool[Array, " b"] | None = None
    target_frames: int | None = flax.struct.field(pytree_node=False, default=None)


@flax.struct.dataclass
class AcousticInputs:
    """What stage 2 knows; the tokens of the prompt, and of levels decoded before, are in its decode state."""

    prompt_lengths: Int[Array, " b"]
    lengths: Int[Array, " b"]  # prompt and target
    semantic_tokens: Int[Array, "b t"]
    target_frames: int | None = flax.struct.field(pytree_node=False, default=None)  # as in stage 1


def semantic_steps(
    model: SemanticGenerator,
    variables: Variables,
    decoder: Decoder,
    inputs: SemanticInputs,
    state: DecodeState,
    begin: Int[Array, ""],
    end: Int[Array, ""],
) -> DecodeState:
    """Steps `begin` to `end` of stage 1; the tokens of the state are [b, t, 1]."""
    t = state.tokens.shape[1]
    is_target = _is_target(inputs.prompt_lengths, inputs.lengths, t)
    known = {
        "lengths": inputs.lengths,
        "phones": inputs.phones,
        "phone_lengths": inputs.phone_lengths,
        "phone_positions": inputs.phone_positions,
        "condition": inputs.condition,
        "has_condition": inputs.has_condition,
    }

    def tokens_to_logits(
        tokens: Int[Array, "b t 1"], is_masked: Bool[Array, "b t"], level: Int[Array, ""], time: Float[Array, " b"]
    ) -> Float[Array, "b t v"]:
        seen = (tokens[:, :, 0], is_masked, time)
        if decoder.sampling.guidance is None:
            hidden = model.apply(variables, *seen, **known)
        else:
            passes = model.apply(variables, *seen, **known, **_both_passes(inputs, t))
            hidden = _guided(*passes, inputs, decoder.sampling.guidance, is_target)
        return model.apply(variables, hidden, method="logits")

    return decode_steps(decoder, tokens_to_logits, is_target, state, begin, end)


def acoustic_steps(
    model: AcousticGenerator,
    variables: Variables,
    decoder: Decoder,
    inputs: AcousticInputs,
    state: DecodeState,
    begin: Int[Array, ""],
    end: Int[Array, ""],
) -> DecodeState:
    """Steps `begin` to `end` of stage 2, over all the levels of the schedule."""
    t = state.tokens.shape[1]
    is_target = _is_target(inputs.prompt_lengths, inputs.lengths, t)
    is_prompt = ragged.valid_mask(inputs.prompt_lengths, t)

    def tokens_to_logits(
        tokens: Int[Array, "b t q"], is_masked: Bool[Array, "b t"], level: Int[Array, ""], time: Float[Array, " b"]
    ) -> Float[Array, "b t v"]:
        levels = jnp.full(time.shape, level)
        seen = (inputs.semantic_tokens, tokens, levels, is_masked)
        if decoder.sampling.guidance is None:
            hidden = model.apply(variables, *seen, is_prompt, time, lengths=inputs.lengths)
        else:
            passes = model.apply(variables, *seen, time, lengths=inputs.lengths, **_both_passes(inputs, t))
            hidden = _guided(*passes, inputs, decoder.sampling.guidance, is_target)
        return model.apply(variables, hidden, levels, method="logits")

    return decode_steps(decoder, tokens_to_logits, is_target, state, begin, end)


def _both_passes(inputs: SemanticInputs | AcousticInputs, t: int) -> dict[str, Any]:
    """How a model is asked for both passes: what tells the one with the prompt from the one without."""
    frames = t if inputs.target_frames is None else min(t, inputs.target_frames)
    return {
        "method": "with_and_without_prompt",
        "prompt_lengths": inputs.prompt_lengths,
        "target_frames": frames,
    }


def _guided(
    conditional: Float[Array, "b t d"],
    unconditional: Float[Array, "b u d"],
    inputs: SemanticInputs | AcousticInputs,
    weight: Float[Array, ""],
    is_target: Bool[Array, "b t"],
) -> Float[Array, "b t d"]:
    """Guided hidden states; those of the prompt's frames have no meaning."""
    prompts = inputs.prompt_lengths
    back, _ = ragged.join(conditional, prompts, unconditional, inputs.lengths - prompts)
    return guide(conditional, back[:, : conditional.shape[1]], weight, is_target)


def _is_target(prompt_lengths: Int[Array, " b"], lengths: Int[Array, " b"], t: int) -> Bool[Array, "b t"]:
    return ragged.valid_mask(lengths, t) & ~ragged.valid_mask(prompt_lengths, t)


# One executable per model, shape and kind of inputs; everything else is an array.
jitted_semantic_steps = jax.jit(semantic_steps, static_argnames="model")
jitted_acoustic_steps = jax.jit(acoustic_steps, static_argnames="model")

StepsFunction = Callable[..., DecodeState]


def run_stage(
    steps: StepsFunction,
    model: SemanticGenerator | AcousticGenerator,
    variables: Variables,
    decoder: Decoder,
    inputs: SemanticInputs | AcousticInputs,
    tokens: Int[Array, "b t q"],
    progress: Callable[[int], None] | None = None,
    stride: int = 5,
) -> Int[Array, "b t q"]:
    """Decodes a whole stage: in one call, or in calls of `stride` steps after which `progress` hears of them."""
    state = DecodeState(tokens, jnp.asarray(np.zeros(tokens.shape[:2], bool)))  # no program, as jnp.zeros is
    count = int(decoder.schedule.count)
    stride = stride if progress else count
    for begin in range(0, count, stride):
        end = min(begin + stride, count)
        state = steps(model, variables, decoder, inputs, state, np.int32(begin), np.int32(end))
        if progress:
            jax.block_until_ready(state.tokens)
            progress(end - begin)
    return state.tokens

"""The two generators under the masked decoder: prompts, and conditional and unconditional passes in one batch.

Guidance needs a second pass that drops phones and prompt and sees the target frames alone.  Both passes run as one
batch of twice the rows, each row beside its twin, so that a batch sharded over devices stays where it is.  The
twin's target frames move to the start of the row: rotary positions are relative, and right padding is all the attention
kernels know.
"""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from metis_jax.decoding.guidance import guide
from metis_jax.decoding.masked_decode import DecodeState, Schedule, TokensToLogits, decode_steps
from metis_jax.models.acoustic_generator import AcousticGenerator
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.ops import lengths as ragged
from metis_jax.types import Array, Bool, Float, Int, Key, Variables


@flax.struct.dataclass
class Sampling:
    """How a stage draws its tokens.

    temperature, choice_temperature: both zero decode without noise.
    guidance: weight of classifier-free guidance; None leaves the unconditional pass out.
    """

    temperature: Float[Array, ""]
    choice_temperature: Float[Array, ""]
    guidance: Float[Array, ""] | None = None


@flax.struct.dataclass
class SemanticInputs:
    """What stage 1 knows; the tokens of the prompt are in its decode state."""

    prompt_lengths: Int[Array, " b"]
    lengths: Int[Array, " b"]  # prompt and target
    phones: Int[Array, "b p"] | None = None
    phone_lengths: Int[Array, " b"] | None = None
    condition: Float[Array, "b t c"] | None = None


@flax.struct.dataclass
class AcousticInputs:
    """What stage 2 knows; the tokens of the prompt, and of levels decoded before, are in its decode state."""

    prompt_lengths: Int[Array, " b"]
    lengths: Int[Array, " b"]  # prompt and target
    semantic_tokens: Int[Array, "b t"]


def semantic_steps(
    model: SemanticGenerator,
    variables: Variables,
    schedule: Schedule,
    inputs: SemanticInputs,
    state: DecodeState,
    keys: Key[Array, " b"],
    sampling: Sampling,
    begin: Int[Array, ""],
    end: Int[Array, ""],
) -> DecodeState:
    """Steps `begin` to `end` of stage 1; the tokens of the state are [b, t, 1]."""
    is_guided = sampling.guidance is not None
    t = state.tokens.shape[1]
    is_target = _is_target(inputs.prompt_lengths, inputs.lengths, t)
    twins = _Twins(inputs.prompt_lengths, inputs.lengths, is_guided)
    phones, phone_lengths, condition = inputs.phones, inputs.phone_lengths, inputs.condition
    if phones is not None:
        phones = twins.repeat(phones)
        phone_lengths = twins.pair(phone_lengths, jnp.zeros_like(phone_lengths))
    if condition is not None:
        condition = twins.frames(condition)

    def tokens_to_logits(
        tokens: Int[Array, "b t 1"], is_masked: Bool[Array, "b t"], level: Int[Array, ""], time: Float[Array, " b"]
    ) -> Float[Array, "b t v"]:
        hidden = model.apply(
            variables,
            twins.frames(tokens[:, :, 0]),
            twins.frames(is_masked),
            twins.repeat(time),
            lengths=twins.lengths,
            phones=phones,
            phone_lengths=phone_lengths,
            condition=condition,
        )
        hidden = twins.guide(hidden, sampling.guidance, is_target)
        return model.apply(variables, hidden, method="logits")

    return _decode(tokens_to_logits, schedule, state, is_target, keys, sampling, begin, end)


def acoustic_steps(
    model: AcousticGenerator,
    variables: Variables,
    schedule: Schedule,
    inputs: AcousticInputs,
    state: DecodeState,
    keys: Key[Array, " b"],
    sampling: Sampling,
    begin: Int[Array, ""],
    end: Int[Array, ""],
) -> DecodeState:
    """Steps `begin` to `end` of stage 2, over all the levels of the schedule."""
    t = state.tokens.shape[1]
    is_target = _is_target(inputs.prompt_lengths, inputs.lengths, t)
    twins = _Twins(inputs.prompt_lengths, inputs.lengths, sampling.guidance is not None)
    semantic_tokens = twins.frames(inputs.semantic_tokens)
    is_prompt = twins.frames(ragged.valid_mask(inputs.prompt_lengths, t))

    def tokens_to_logits(
        tokens: Int[Array, "b t q"], is_masked: Bool[Array, "b t"], level: Int[Array, ""], time: Float[Array, " b"]
    ) -> Float[Array, "b t v"]:
        levels = jnp.full(time.shape, level)
        hidden = model.apply(
            variables,
            semantic_tokens,
            twins.frames(tokens),
            twins.repeat(levels),
            twins.frames(is_masked),
            is_prompt,
            twins.repeat(time),
            lengths=twins.lengths,
        )
        hidden = twins.guide(hidden, sampling.guidance, is_target)
        return model.apply(variables, hidden, levels, method="logits")

    return _decode(tokens_to_logits, schedule, state, is_target, keys, sampling, begin, end)


class _Twins:
    """Rows for the conditional pass, each followed by its twin for the unconditional one where that is wanted."""

    def __init__(self, prompt_lengths: Int[Array, " b"], lengths: Int[Array, " b"], is_guided: bool):
        self.prompt_lengths, self.target_lengths = prompt_lengths, lengths - prompt_lengths
        self.is_guided = is_guided
        self.lengths = self.pair(lengths, self.target_lengths)

    def pair(self, row: Array, twin: Array) -> Array:
        if not self.is_guided:
            return row
        return jnp.stack([row, twin], axis=1).reshape((-1,) + row.shape[1:])

    def repeat(self, row: Array) -> Array:
        return self.pair(row, row)

    def frames(self, row: Array) -> Array:
        """The row, and its target frames moved to the start."""
        return self.pair(row, ragged.take(row, self.prompt_lengths, row.shape[1])) if self.is_guided else row

    def guide(
        self, hidden: Float[Array, "rows t d"], weight: Float[Array, ""] | None, is_target: Bool[Array, "b t"]
    ) -> Float[Array, "b t d"]:
        if not self.is_guided:
            return hidden
        _, t, d = hidden.shape
        conditional, unconditional = jnp.moveaxis(hidden.reshape(-1, 2, t, d), 1, 0)
        back, _ = ragged.join(conditional, self.prompt_lengths, unconditional, self.target_lengths)
        return guide(conditional, back[:, :t], weight, is_target)


def _is_target(prompt_lengths: Int[Array, " b"], lengths: Int[Array, " b"], t: int) -> Bool[Array, "b t"]:
    return ragged.valid_mask(lengths, t) & ~ragged.valid_mask(prompt_lengths, t)


def _decode(
    tokens_to_logits: TokensToLogits,
    schedule: Schedule,
    state: DecodeState,
    is_target: Bool[Array, "b t"],
    keys: Key[Array, " b"],
    sampling: Sampling,
    begin: Int[Array, ""],
    end: Int[Array, ""],
) -> DecodeState:
    return decode_steps(
        tokens_to_logits,
        schedule,
        state,
        is_target,
        keys,
        begin=begin,
        end=end,
        temperature=sampling.temperature,
        choice_temperature=sampling.choice_temperature,
    )


# One executable per model, shape and kind of inputs; everything else is an array.
jitted_semantic_steps = jax.jit(semantic_steps, static_argnames="model")
jitted_acoustic_steps = jax.jit(acoustic_steps, static_argnames="model")

StepsFunction = Callable[..., DecodeState]


def run_stage(
    steps: StepsFunction,
    model: SemanticGenerator | AcousticGenerator,
    variables: Variables,
    schedule: Schedule,
    inputs: SemanticInputs | AcousticInputs,
    tokens: Int[Array, "b t q"],
    keys: Key[Array, " b"],
    sampling: Sampling,
    progress: Callable[[int], None] | None = None,
    stride: int = 5,
) -> Int[Array, "b t q"]:
    """Decodes a whole stage: in one call, or in calls of `stride` steps after which `progress` hears of them."""
    state = DecodeState(tokens, jnp.zeros(tokens.shape[:2], bool))
    count = int(schedule.count)
    stride = stride if progress else count
    for begin in range(0, count, stride):
        end = min(begin + stride, count)
        state = steps(
            model, variables, schedule, inputs, state, keys, sampling, begin=jnp.int32(begin), end=jnp.int32(end)
        )
        if progress:
            jax.block_until_ready(state.tokens)
            progress(end - begin)
    return state.tokens

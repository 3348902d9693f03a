"""Iterative masked decoding (MaskGCT section 3.2.2): the whole loop of a stage in one compiled program.

The decoder knows no model.  It takes a function from tokens to logits, and a `Schedule` of arrays, padded to a fixed
capacity, that says for each step which level it decodes, at which time, with how much noise, and how many frames stay
masked after it.  Levels stand behind each other in one schedule, so that the eleven levels of stage 2, any number of
steps and any temperature share one executable.  Noise-free (temperature 0, choice temperature 0) it gives the tokens of
the reference's `reverse_diffusion`, as `decoded_*` of the golden files pin them down.
"""

from collections.abc import Callable, Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.ops import schedules
from metis_jax.ops.masking import remask
from metis_jax.ops.sampling import gumbel_rows, sample_filtered
from metis_jax.types import Array, Bool, Float, Int, Key

CAPACITY = 128  # steps of all levels together that one executable serves
MINIMUM_TEMPERATURE = 1e-3
SINGLE_STEP_TEMPERATURE = 0.2

# (tokens [b t q], is_masked [b t], level [], time [b]) -> logits [b t v].  Tokens of masked frames are arbitrary.
TokensToLogits = Callable[
    [Int[Array, "b t q"], Bool[Array, "b t"], Int[Array, ""], Float[Array, " b"]], Float[Array, "b t v"]
]


@flax.struct.dataclass
class Schedule:
    """The steps of a decoding run, one array entry each; entries from `count` on are never reached.

    The sampling temperature of a step is max(temperature * temperature_scale, temperature_floor).
    """

    count: Int[Array, ""]
    level: Int[Array, " s"]
    starts_level: Bool[Array, " s"]
    time: Float[Array, " s"]
    next_rate: Float[Array, " s"]  # share of the target frames that stay masked after the step
    temperature_scale: Float[Array, " s"]
    temperature_floor: Float[Array, " s"]
    choice_scale: Float[Array, " s"]  # of the noise on the confidences


@flax.struct.dataclass
class Sampling:
    """How tokens are drawn.

    temperature, choice_temperature: both zero decode without noise.
    guidance: weight of classifier-free guidance; None leaves the unconditional pass out.
    """

    temperature: Float[Array, ""]
    choice_temperature: Float[Array, ""]
    guidance: Float[Array, ""] | None = None


@flax.struct.dataclass
class Decoder:
    """What all steps of a run over a batch share.

    keys: of the examples; an example's tokens depend on its own key, content and length alone.
    """

    schedule: Schedule
    keys: Key[Array, " b"]
    sampling: Sampling


@flax.struct.dataclass
class DecodeState:
    """What a step hands to the next.

    tokens: all levels of all frames.  Prompt frames and levels decoded before are final; target frames of the current
      level are final where not masked; later levels hold whatever came in.
    is_masked: target frames whose token of the current level is not yet decided.
    """

    tokens: Int[Array, "b t q"]
    is_masked: Bool[Array, "b t"]


def make_schedule(steps: Sequence[int], *, first_level: int = 0, capacity: int = CAPACITY) -> Schedule:
    """The schedule that decodes levels first_level, first_level + 1, … in `steps[0]`, `steps[1]`, … steps."""
    if not steps or min(steps) < 1 or sum(steps) > capacity:
        raise ValueError(f"steps is {list(steps)}; use at least one per level and at most {capacity} in all")
    rows = []
    for level, n in enumerate(steps, start=first_level):
        times = schedules.decoding_times(n)
        rates = schedules.decoding_rates(times)
        scale, floor = times[:-1].copy(), np.full(n, MINIMUM_TEMPERATURE, np.float32)
        # The last step is greedy, unless it is the only one.
        scale[-1], floor[-1] = 0.0, SINGLE_STEP_TEMPERATURE if n == 1 else 0.0
        starts = np.arange(n) == 0
        rows.append((np.full(n, level, np.int32), starts, times[:-1], rates[1:], scale, floor, times[:-1]))
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    padded = [np.pad(column, (0, capacity - len(column))) for column in columns]
    return Schedule(jnp.int32(sum(steps)), *map(jnp.asarray, padded))


def decode_steps(
    decoder: Decoder,
    tokens_to_logits: TokensToLogits,
    is_target: Bool[Array, "b t"],
    state: DecodeState,
    begin: Int[Array, ""],
    end: Int[Array, ""],
) -> DecodeState:
    """Decodes the target frames of the schedule's levels, from step `begin` up to `end`.

    `is_target` leaves out the prompt and the padding; all other tokens are known and come back untouched.  Where
    calls part changes nothing.  The batch may be sharded over its first axis.
    """
    schedule, keys, sampling = decoder.schedule, decoder.keys, decoder.sampling
    b, t = is_target.shape
    target_lengths = is_target.sum(axis=1).astype(jnp.int32)

    def step(i: Int[Array, ""], state: DecodeState) -> DecodeState:
        level = schedule.level[i]
        is_masked = jnp.where(schedule.starts_level[i], is_target, state.is_masked)
        logits = tokens_to_logits(state.tokens, is_masked, level, jnp.full((b,), schedule.time[i]))
        sample_keys, choice_keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, i)), out_axes=1)(keys)

        heat = jnp.maximum(sampling.temperature * schedule.temperature_scale[i], schedule.temperature_floor[i])
        heat = jnp.where(sampling.temperature > 0, heat, jnp.zeros_like(heat))
        sampled, confidence = sample_filtered(logits, sample_keys, heat)
        level_tokens = jnp.where(is_masked, sampled, state.tokens[:, :, level])

        choice_noise = gumbel_rows(choice_keys, t, 1)[:, :, 0]
        confidence = confidence + sampling.choice_temperature * schedule.choice_scale[i] * choice_noise
        # The reference ranks 1 - confidence; its rounding decides between nearly equal confidences.
        is_masked = remask(1 - confidence, is_masked, schedules.masked_count(schedule.next_rate[i], target_lengths))
        return DecodeState(state.tokens.at[:, :, level].set(level_tokens), is_masked)

    return jax.lax.fori_loop(begin, end, step, state)

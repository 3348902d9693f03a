"""Masked decoding against a plain eager loop, with a five-line model in place of the transformer."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.decoding.masked_decode import Decoder, DecodeState, Sampling, decode_steps, make_schedule
from metis_jax.ops.lengths import valid_mask

VOCABULARY, LEVELS, WIDTH = 100, 4, 6
TABLE = jax.random.normal(jax.random.key(10), (LEVELS, VOCABULARY + 1, WIDTH))
HEADS = 2 * jax.random.normal(jax.random.key(11), (LEVELS, WIDTH, VOCABULARY))


def fake_model(lengths):
    """Logits that depend on the tokens of all valid frames, the mask, the level, and the time."""

    def tokens_to_logits(tokens, is_masked, level, time):
        levels = jnp.arange(LEVELS)[None, None, :]
        is_hidden = (levels > level) | ((levels == level) & is_masked[:, :, None])
        x = TABLE[levels, jnp.where(is_hidden, VOCABULARY, tokens)].sum(axis=2)
        is_valid = valid_mask(lengths, tokens.shape[1])[:, :, None]
        mean = x.mean(axis=1, keepdims=True, where=is_valid)
        near = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        return jnp.tanh(x + 0.5 * near + mean * time[:, None, None]) @ HEADS[level]

    return tokens_to_logits


def run(schedule, tokens, prompts, lengths, keys, temperature, choice_temperature):
    t = tokens.shape[1]
    is_target = valid_mask(lengths, t) & ~valid_mask(prompts, t)
    decoder = Decoder(schedule, keys, Sampling(temperature, choice_temperature))
    state = DecodeState(tokens, jnp.zeros_like(is_target))
    return decode_steps(decoder, fake_model(lengths), is_target, state, jnp.int32(0), schedule.count).tokens


decode = jax.jit(chex.assert_max_traces(run, n=1))  # every setting below shares one program


def batch(t=24):
    tokens = jax.random.randint(jax.random.key(12), (3, t, LEVELS), 0, VOCABULARY)
    return tokens, jnp.array([5, 0, 3]), jnp.array([24, 17, 9]), jax.random.split(jax.random.key(13), 3)


def eager(tokens, prompt, length, steps, first_level):
    """The decoding loop of one example as one would write it first: no padding, no batch, no noise."""
    tokens = np.array(tokens[:length])
    n = length - prompt
    for level, level_steps in enumerate(steps, start=first_level):
        masked = np.arange(length) >= prompt
        for i in range(level_steps):
            time = jnp.float32(1 - i / level_steps)
            logits = fake_model(jnp.array([length]))(
                jnp.asarray(tokens)[None], jnp.asarray(masked)[None], jnp.int32(level), time[None]
            )
            logits = np.asarray(logits[0])
            tokens[masked, level] = logits.argmax(-1)[masked]
            kept = np.sort(logits, axis=-1)[:, -math.ceil((1 - 0.98) * VOCABULARY) :]
            best = np.exp(kept - kept[:, -1:])
            score = np.where(masked, 1 - best[:, -1] / best.sum(-1), -np.inf)
            rate = np.float32(math.sin(math.pi / 2 * (1 - (i + 1) / level_steps))) if i + 1 < level_steps else 0
            masked = np.zeros(length, bool)
            masked[np.argsort(-score, kind="stable")[: int(rate * n)]] = True
    return tokens


@pytest.mark.parametrize("steps, first_level", [((12,), 0), ((7, 1, 1), 1), ((1,), 0)])
def test_noise_free_equals_a_plain_loop(steps, first_level):
    tokens, prompts, lengths, keys = batch()
    schedule = make_schedule(steps, first_level=first_level)
    out = decode(schedule, tokens, prompts, lengths, keys, jnp.float32(0), jnp.float32(0))
    for row in range(3):
        expected = eager(tokens[row], int(prompts[row]), int(lengths[row]), steps, first_level)
        np.testing.assert_array_equal(out[row, : lengths[row]], expected)


def test_alone_in_a_batch_and_in_a_larger_bucket():
    tokens, prompts, lengths, keys = batch()
    schedule = make_schedule((6, 3))
    settings = (jnp.float32(1.5), jnp.float32(1))
    together = decode(schedule, tokens, prompts, lengths, keys, *settings)
    wide = jnp.pad(tokens, ((0, 0), (0, 9), (0, 0)), constant_values=1)
    wider = jax.jit(run)(schedule, wide, prompts, lengths, keys, *settings)
    one = slice(1, 2)
    alone = jax.jit(run)(schedule, tokens[one, :17], prompts[one], lengths[one], keys[one], *settings)
    for row in range(3):
        np.testing.assert_array_equal(wider[row, : lengths[row]], together[row, : lengths[row]])
    np.testing.assert_array_equal(alone[0], together[1, :17])
    other = decode(schedule, tokens, prompts, lengths, keys[::-1], *settings)
    assert not np.array_equal(other[0], together[0])


def test_known_tokens_are_never_touched():
    tokens, prompts, lengths, keys = batch()
    out = decode(make_schedule((5, 2), first_level=1), tokens, prompts, lengths, keys, jnp.float32(1), jnp.float32(1))
    is_known = ~(valid_mask(lengths, 24) & ~valid_mask(prompts, 24))
    np.testing.assert_array_equal(out[is_known], tokens[is_known])
    np.testing.assert_array_equal(out[:, :, [0, 3]], tokens[:, :, [0, 3]])


def test_each_frame_is_decided_once_and_kept():
    tokens, prompts, lengths, keys = batch()
    is_target = valid_mask(lengths, 24) & ~valid_mask(prompts, 24)
    schedule = make_schedule((9,))
    decoder = Decoder(schedule, keys, Sampling(jnp.float32(1), jnp.float32(1)))

    @jax.jit
    def advance(state, i):
        return decode_steps(decoder, fake_model(lengths), is_target, state, i, i + 1)

    state = DecodeState(tokens, jnp.zeros_like(is_target))
    before = is_target
    for i in range(9):
        new = advance(state, jnp.int32(i))
        assert not (new.is_masked & ~before).any()  # masked frames only ever become fewer
        decided = ~before
        np.testing.assert_array_equal(new.tokens[decided], state.tokens[decided])
        expected = np.floor(np.sin(np.pi / 2 * (1 - (i + 1) / 9)) * np.asarray(is_target.sum(1)))
        np.testing.assert_array_equal(new.is_masked.sum(axis=1), expected)
        state, before = new, new.is_masked
    assert not state.is_masked.any()
    whole = decode(schedule, tokens, prompts, lengths, keys, jnp.float32(1), jnp.float32(1))
    np.testing.assert_array_equal(state.tokens, whole)


@pytest.mark.parametrize("steps, temperature, shift", [((3,), 0.5, 0), ((25,), 1.5, 1), ((16, 1, 1), 0.2, 2)])
def test_settings_do_not_compile_again(steps, temperature, shift):
    tokens, prompts, lengths, keys = batch()
    decode(make_schedule(steps), tokens, prompts, lengths - shift, keys, jnp.float32(temperature), jnp.float32(0.1))
    assert decode._cache_size() == 1


@pytest.mark.parametrize("steps", [(), (0,), (3, 0), (100, 40)])
def test_impossible_schedules_are_named(steps):
    with pytest.raises(ValueError, match="at least one per level and at most 128"):
        make_schedule(steps)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.ops import masking
from metis_jax.ops.schedules import mask_rate


def test_remask_keeps_exactly_the_most_uncertain():
    uncertainty = jnp.array([[0.1, 0.9, 0.5, 0.7], [0.3, 0.3, 0.3, 0.3]])
    is_masked = jnp.array([[True, True, True, False], [True, True, True, True]])
    kept = jax.jit(masking.remask)(uncertainty, is_masked, jnp.array([2, 3]))
    np.testing.assert_array_equal(kept, [[False, True, True, False], [True, True, True, False]])


def test_remask_never_exceeds_what_is_masked():
    is_masked = jnp.array([[False, True, False]])
    assert masking.remask(jnp.zeros((1, 3)), is_masked, jnp.array([3])).sum() == 1
    assert masking.remask(jnp.zeros((1, 3)), is_masked, jnp.array([0])).sum() == 0


def test_times_are_uniform():
    times = masking.sample_times(jax.random.key(0), 20000)
    assert times.min() >= 1e-5 and times.max() < 1
    np.testing.assert_allclose(np.histogram(times, 10, (0, 1))[0] / 20000, 0.1, atol=0.01)


@pytest.mark.parametrize("share, high", [(masking.SEMANTIC_PROMPT_SHARE, 40), (masking.ACOUSTIC_PROMPT_SHARE, 50)])
def test_prompt_lengths(share, high):
    n = 20000
    drawn = np.asarray(masking.sample_prompt_lengths(jax.random.key(1), jnp.full((n,), 100), share=share))
    counts = np.bincount(drawn, minlength=101) / n
    assert counts[1:5].sum() == 0 and counts[high:].sum() == 0
    np.testing.assert_allclose(counts[5:high], 1 / (high - 5), atol=0.006)


@pytest.mark.parametrize("length", [1, 2, 4, 5, 8, 13])
def test_prompts_of_short_rows_leave_a_target(length):
    drawn = masking.sample_prompt_lengths(jax.random.key(2), jnp.full((500,), length), share=0.5)
    assert drawn.max() < length


def test_mask_has_its_rate_outside_prompt_and_padding():
    n, t = 400, 60
    lengths, prompts = jnp.full((n,), 50), jnp.full((n,), 10)
    rate = jnp.full((n,), 0.3)
    mask = np.asarray(masking.sample_mask(jax.random.key(3), rate, prompts, lengths, t))
    assert not mask[:, :10].any() and not mask[:, 50:].any()
    np.testing.assert_allclose(mask[:, 10:50].mean(axis=0), 0.3, atol=0.12)
    np.testing.assert_allclose(mask[:, 10:50].mean(), 0.3, atol=0.015)


def test_at_least_one_frame_is_masked():
    prompts = jnp.array([0, 3, 6])
    mask = masking.sample_mask(jax.random.key(4), jnp.zeros(3), prompts, jnp.array([9, 9, 7]), 9)
    np.testing.assert_array_equal(mask.sum(axis=1), 1)
    np.testing.assert_array_equal(mask.argmax(axis=1), prompts)


def test_stage_one_rate_has_a_floor():
    rate = jnp.maximum(mask_rate(masking.sample_times(jax.random.key(5), 20000)), masking.MINIMUM_MASK_RATE)
    assert rate.min() == jnp.float32(0.2)
    np.testing.assert_allclose((rate == jnp.float32(0.2)).mean(), 2 / np.pi * np.arcsin(0.2), atol=0.01)


@pytest.mark.parametrize("first, weights", [(0, [4, 3, 2, 1]), (1, [0, 4, 3, 2])])
def test_levels_follow_linear_weights(first, weights):
    np.testing.assert_array_equal(masking.level_weights(4, first), weights)
    drawn = masking.sample_levels(jax.random.key(6), 20000, jnp.asarray(masking.level_weights(4, first)))
    counts = np.bincount(np.asarray(drawn), minlength=4) / 20000
    np.testing.assert_allclose(counts, np.array(weights) / sum(weights), atol=0.01)
    assert counts[0] == 0 or first == 0

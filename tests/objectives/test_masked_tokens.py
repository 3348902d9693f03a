"""Cross-entropy on masked frames alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.objectives.masked_tokens import hidden_token_loss, masked_token_loss


def draw(seed: int):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((3, 7, 5)).astype(np.float32)
    tokens = rng.integers(0, 5, (3, 7)).astype(np.int32)
    return logits, tokens, rng.random((3, 7)) < 0.5


def test_equals_the_plain_formula():
    logits, tokens, is_masked = draw(0)
    result = masked_token_loss(jnp.asarray(logits), jnp.asarray(tokens), jnp.asarray(is_masked))
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    nats = -np.log(np.take_along_axis(shares, tokens[..., None], -1)[..., 0])
    np.testing.assert_allclose(result.loss, nats[is_masked].mean(), rtol=1e-5)
    np.testing.assert_allclose(result.accuracy, (logits.argmax(-1) == tokens)[is_masked].mean(), rtol=1e-6)
    assert int(result.count) == is_masked.sum()


def test_frames_outside_the_mask_have_no_gradient_whatever_they_hold():
    logits, tokens, is_masked = draw(1)
    logits[~is_masked] = np.inf
    loss, gradient = jax.value_and_grad(
        lambda x: masked_token_loss(x, jnp.asarray(tokens), jnp.asarray(is_masked)).loss
    )(jnp.asarray(logits))
    assert np.isfinite(loss)
    assert np.all(np.asarray(gradient)[is_masked].any(-1))
    np.testing.assert_array_equal(np.nan_to_num(np.asarray(gradient)[~is_masked]), 0)


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_logits_made_in_parts_have_the_loss_and_the_gradients_of_the_whole(parts):
    _, tokens, is_masked = map(jnp.asarray, draw(4))
    kernel, hidden = (jax.random.normal(jax.random.key(seed), shape) for seed, shape in ((0, (4, 5)), (1, (3, 7, 4))))

    def whole(kernel, hidden):
        result = masked_token_loss(hidden @ kernel, tokens, is_masked)
        return result.loss, result

    def cut(kernel, hidden):
        result = hidden_token_loss(lambda own: own @ kernel, hidden, tokens, is_masked, parts=parts)
        return result.loss, result

    found, due = (jax.jit(jax.grad(f, argnums=(0, 1), has_aux=True))(kernel, hidden) for f in (cut, whole))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(due), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_the_logits_of_a_whole_batch_are_never_there():
    _, tokens, is_masked = map(jnp.asarray, draw(5))
    tokens, is_masked = jnp.tile(tokens, (1, 100)), jnp.tile(is_masked, (1, 100))
    kernel, hidden = jnp.ones((4, 5000)), jnp.ones((3, 700, 4))

    def loss(hidden, parts):
        return hidden_token_loss(lambda own: own @ kernel, hidden, tokens, is_masked, parts=parts).loss

    memory = [
        jax.jit(jax.grad(loss), static_argnums=1).lower(hidden, parts).compile().memory_analysis().temp_size_in_bytes
        for parts in (1, 10)
    ]
    assert memory[1] < 0.3 * memory[0]


def test_nothing_masked_is_zero():
    logits, tokens, _ = draw(2)
    result = masked_token_loss(jnp.asarray(logits), jnp.asarray(tokens), jnp.zeros((3, 7), bool))
    assert float(result.loss) == 0 and float(result.count) == 0


def test_bfloat16_logits_are_summed_in_float32():
    logits, tokens, is_masked = draw(3)
    half = jnp.asarray(logits, jnp.bfloat16)
    result = masked_token_loss(half, jnp.asarray(tokens), jnp.asarray(is_masked))
    exact = masked_token_loss(half.astype(jnp.float32), jnp.asarray(tokens), jnp.asarray(is_masked))
    assert result.loss.dtype == jnp.float32
    np.testing.assert_array_equal(result.loss, exact.loss)

"""Cross-entropy on masked frames alone."""

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.objectives.masked_tokens import masked_token_loss


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

"""Adversarial losses on feature maps written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.objectives.adversarial import discriminator_loss, feature_matching_loss, generator_loss


def maps(score, feature=0.0, padding=0.0):
    """Two networks of one feature map and scores; three frames, of which the second row has one."""
    lengths = jnp.array([3, 1], jnp.int32)
    is_valid = jnp.array([[1, 1, 1], [1, 0, 0]], bool)[:, :, None]

    def values(x):
        return jnp.where(is_valid, jnp.float32(x), jnp.float32(padding))

    return [[(values(feature)[..., None], lengths), (values(score), lengths)]] * 2


def test_losses_of_constant_scores_ignore_padding():
    real, fake = maps(0.75, padding=1e6), maps(0.5, padding=-1e6)
    assert float(discriminator_loss(real, fake)) == pytest.approx(2 * (0.25**2 + 0.5**2))
    assert float(generator_loss(fake)) == pytest.approx(2 * 0.5**2)
    assert float(discriminator_loss(maps(1.0), maps(0.0))) == 0


def test_feature_matching_compares_all_but_the_scores():
    real, fake = maps(0.0, feature=2.0, padding=5), maps(9.0, feature=-1.0, padding=7)
    assert float(feature_matching_loss(real, fake)) == pytest.approx(2 * 3)


def test_feature_matching_moves_only_the_generated_side():
    to_real, to_fake = jax.grad(
        lambda real, fake: feature_matching_loss(maps(0.0, real), maps(0.0, fake)), argnums=(0, 1)
    )(2.0, 3.0)
    assert to_real == 0 and to_fake == pytest.approx(2)


def test_every_row_weighs_the_same():
    scores = jnp.array([[[1.0], [1.0], [1.0]], [[5.0], [0.0], [0.0]]])
    loss = generator_loss([[(scores, jnp.array([3, 1], jnp.int32))]])
    np.testing.assert_allclose(loss, (0 + 16) / 2)

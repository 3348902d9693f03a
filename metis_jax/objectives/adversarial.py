"""Least-squares adversarial losses (arXiv 1611.04076) and feature matching, as DAC uses them (section 3.4).

They take the feature maps of several discriminators: per discriminator a list of `(values, lengths)` whose last entry
is the scores (`metis_jax.models.discriminators`).  Every mean is over rows, of the means over their valid frames, and
the discriminators' terms add up.
Reference: `GANLoss` in `modules/dac/nn/loss.py`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from metis_jax.ops.lengths import row_means, valid_mask
from metis_jax.types import Array, Float

FeatureMaps = Sequence[Sequence[tuple[Array, Array]]]


def _masked_mean(values: Array, lengths: Array) -> Float[Array, ""]:
    """Mean over rows, of the mean over frames (axis 1) below `lengths` and over all further axes."""
    per_frame = jnp.mean(values.astype(jnp.float32).reshape(*values.shape[:2], -1), axis=-1)
    return jnp.mean(row_means(per_frame, valid_mask(lengths, values.shape[1])))


def _distance_of_scores(maps: FeatureMaps, target: float) -> Float[Array, ""]:
    scores = [network[-1] for network in maps]
    terms = [_masked_mean(jnp.square(s.astype(jnp.float32) - jnp.float32(target)), lengths) for s, lengths in scores]
    return sum(terms[1:], start=terms[0])


def discriminator_loss(real: FeatureMaps, fake: FeatureMaps) -> Float[Array, ""]:
    """Scores of real waves to one, of generated ones to zero; the caller stops the gradient to the generator."""
    return _distance_of_scores(real, 1.0) + _distance_of_scores(fake, 0.0)


def generator_loss(fake: FeatureMaps) -> Float[Array, ""]:
    """Scores of generated waves to one."""
    return _distance_of_scores(fake, 1.0)


def feature_matching_loss(real: FeatureMaps, fake: FeatureMaps) -> Float[Array, ""]:
    """Mean absolute difference of all feature maps but the scores; no gradient flows to the real ones."""
    total = jnp.float32(0)
    for real_maps, fake_maps in zip(real, fake, strict=True):
        for (target, lengths), (values, _) in zip(real_maps[:-1], fake_maps[:-1], strict=True):
            target = jax.lax.stop_gradient(target).astype(jnp.float32)
            total = total + _masked_mean(jnp.abs(values.astype(jnp.float32) - target), lengths)
    return total

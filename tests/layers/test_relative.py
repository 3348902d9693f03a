"""Index tricks of relative attention against loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.layers.relative import (
    align_distances,
    clip_distances,
    distance_sinusoids,
    scores_by_distance,
    scores_by_key,
)


@pytest.mark.parametrize("t", [1, 2, 7])
def test_distances_are_aligned_with_keys(t):
    scores = np.random.default_rng(t).normal(size=(2, 3, t, 2 * t - 1)).astype(np.float32)
    aligned = np.asarray(align_distances(jnp.asarray(scores)))
    for i in range(t):
        for j in range(t):
            np.testing.assert_array_equal(aligned[:, :, i, j], scores[:, :, i, j - i + t - 1])


@pytest.mark.parametrize("t", [1, 3, 4, 12])
def test_distances_are_clipped(t):
    left, right = 5, 2
    scores = np.random.default_rng(t).normal(size=(1, 2, t, left + right + 1)).astype(np.float32)
    clipped = np.asarray(clip_distances(jnp.asarray(scores), left, right))
    index = np.clip(np.arange(-(t - 1), t), -left, right) + left
    np.testing.assert_array_equal(clipped, scores[..., index])


@pytest.mark.parametrize("t", [1, 4, 12])
def test_scores_of_keys_are_those_of_their_distances(t):
    rng = np.random.default_rng(t)
    q, distance = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, t, 3, 4), (8, 4)))
    np.testing.assert_allclose(scores_by_key(q, distance, 5, 2), scores_by_distance(q, distance, 5, 2), atol=1e-5)


def test_sinusoids_count_down():
    table = np.asarray(distance_sinusoids(4, 6))
    assert table.shape == (7, 6)
    for row, distance in enumerate(range(3, -4, -1)):
        angles = distance * 10000.0 ** (-np.arange(0, 6, 2) / 6)
        np.testing.assert_allclose(table[row, 0::2], np.sin(angles), atol=1e-6)
        np.testing.assert_allclose(table[row, 1::2], np.cos(angles), atol=1e-6)

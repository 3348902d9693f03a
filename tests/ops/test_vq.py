"""Nearest codes, the straight-through estimator, codes as running means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.ops import vq


@pytest.mark.parametrize("seed", range(3))
def test_nearest_codes_have_the_largest_cosine(seed):
    draw = np.random.default_rng(seed)
    x, codebook = draw.normal(size=(2, 30, 4)), draw.normal(size=(50, 4)) * draw.uniform(0.1, 9, (50, 1))
    cosines = (x / np.linalg.norm(x, axis=-1, keepdims=True)) @ (codebook / np.linalg.norm(codebook, axis=1)[:, None]).T
    codes = vq.nearest_codes(jnp.asarray(x, jnp.float32), jnp.asarray(codebook, jnp.float32))
    np.testing.assert_array_equal(codes, cosines.argmax(-1))


def test_of_equal_entries_the_first_is_taken():
    codebook = jnp.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0]])
    assert vq.nearest_codes(jnp.array([[3.0, 0.1]]), codebook).tolist() == [1]


def test_a_zero_vector_has_a_code_and_a_finite_gradient():
    codebook = jnp.eye(3)
    assert vq.nearest_codes(jnp.zeros((1, 3)), codebook).tolist() == [0]
    assert np.isfinite(jax.grad(lambda x: jnp.sum(vq.straight_through(x, codebook[:1])))(jnp.zeros((1, 3)))).all()


def test_straight_through_has_the_value_of_the_code_and_the_gradient_of_the_input():
    draw = np.random.default_rng(0)
    x, quantized, slope = (jnp.asarray(draw.normal(size=(4, 3)), jnp.float32) for _ in range(3))
    np.testing.assert_allclose(vq.straight_through(x, quantized), quantized, atol=1e-6)
    to_x, to_code = jax.grad(lambda *a: jnp.sum(slope * vq.straight_through(*a)), argnums=(0, 1))(x, quantized)
    np.testing.assert_array_equal(to_x, slope)
    np.testing.assert_array_equal(to_code, 0)

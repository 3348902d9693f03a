"""The polynomial Snake against library sines in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.ops.snake import snake


def exact(x, alpha):
    x, alpha = np.float64(x), np.float64(alpha)
    return x + np.sin(alpha * x) ** 2 / alpha


@pytest.mark.parametrize("scale", [1, 30, 1000])
def test_values(scale):
    draw = np.random.default_rng(scale)
    x = (scale * draw.normal(size=(2, 500, 8))).astype(np.float32)
    alpha = (2.0 ** draw.integers(-2, 2, 8)).astype(np.float32)  # powers of two: alpha x is exact
    difference = np.asarray(snake(jnp.asarray(x), jnp.asarray(alpha)), np.float64) - exact(x, alpha)
    assert np.abs(difference * alpha).max() < 5e-7 + 1e-7 * scale * 8


def test_gradients():
    draw = np.random.default_rng(0)
    x, gradient = (draw.normal(size=(2, 50, 8)).astype(np.float32) * 3 for _ in range(2))
    alpha = draw.uniform(0.3, 2, 8).astype(np.float32)
    _, pull = jax.vjp(snake, jnp.asarray(x), jnp.asarray(alpha))
    to_x, to_alpha = pull(jnp.asarray(gradient))
    wide, angle = np.float64(x), 2 * np.float64(alpha) * np.float64(x)
    np.testing.assert_allclose(to_x, gradient * (1 + np.sin(angle)), atol=1e-5)
    slopes = gradient * (wide * np.sin(angle) / alpha - np.sin(angle / 2) ** 2 / np.float64(alpha) ** 2)
    np.testing.assert_allclose(to_alpha, slopes.sum((0, 1)), rtol=1e-4)


def test_bfloat16_is_computed_wide_and_returned_narrow():
    x = jnp.linspace(-4, 4, 64, dtype=jnp.bfloat16).reshape(1, 8, 8)
    y, pull = jax.vjp(snake, x, jnp.ones(8))
    assert y.dtype == jnp.bfloat16 and pull(y)[0].dtype == jnp.bfloat16 and pull(y)[1].dtype == jnp.float32
    np.testing.assert_array_equal(y, snake(x.astype(jnp.float32), jnp.ones(8)).astype(jnp.bfloat16))

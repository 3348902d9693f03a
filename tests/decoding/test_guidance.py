import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.decoding.guidance import guide, valid_std


def reference(c, u, weight):
    guided = c + weight * (c - u)
    rescaled = guided * c.std(ddof=1) / guided.std(ddof=1)
    return 0.75 * rescaled + 0.25 * guided


def pair():
    c, u = (np.array(jax.random.normal(jax.random.key(i), (2, 7, 5))) for i in range(2))
    return c, u + 0.3


def test_guide_equals_the_formula_per_example_and_ignores_padding():
    c, u = pair()
    lengths = [7, 4]
    is_valid = jnp.arange(7)[None] < jnp.array(lengths)[:, None]
    c[1, 4:], u[1, 4:] = 1e4, np.nan
    out = jax.jit(guide)(jnp.asarray(c), jnp.asarray(u), jnp.float32(2.5), is_valid)
    for row, length in enumerate(lengths):
        expected = reference(c[row, :length], u[row, :length], 2.5)
        np.testing.assert_allclose(out[row, :length], expected, rtol=2e-6, atol=2e-6)


def test_no_weight_is_no_guidance():
    c, u = pair()
    out = guide(jnp.asarray(c), jnp.asarray(u), jnp.float32(0), jnp.ones((2, 7), bool))
    np.testing.assert_allclose(out, c, rtol=1e-6)


def test_std_of_an_empty_row_is_finite():
    assert valid_std(jnp.ones((1, 3, 2)), jnp.zeros((1, 3), bool))[0] == 0

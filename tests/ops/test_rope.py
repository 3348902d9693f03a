import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.ops.rope import rotary_angles, rotate


def test_scores_depend_on_relative_positions_only():
    q, k = (jax.random.normal(jax.random.key(i), (1, 6, 2, 8)) for i in range(2))

    def scores(offset):
        positions = jnp.arange(6, dtype=jnp.float32)[None, :] + jnp.float32(offset)
        angles = rotary_angles(positions, 8, 10000.0)
        return jnp.einsum("btnh,bsnh->bnts", rotate(q, angles), rotate(k, angles))

    np.testing.assert_allclose(scores(0), scores(37), atol=2e-5)
    assert not np.allclose(scores(0), jnp.einsum("btnh,bsnh->bnts", q, k), atol=1e-2)


def test_half_rotation_form():
    x = jnp.zeros((1, 1, 1, 4)).at[0, 0, 0, 0].set(1.0)
    rotated = rotate(x, rotary_angles(jnp.full((1, 1), 3.0), 4, 10000.0))
    np.testing.assert_allclose(rotated[0, 0, 0], [np.cos(3), 0, np.sin(3), 0], atol=1e-6)

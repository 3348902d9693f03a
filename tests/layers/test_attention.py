import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.layers.attention import attention

B, T, S, N, H = 2, 7, 9, 3, 4
LENGTHS = jnp.array([9, 4], jnp.int32)


def inputs(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((B, T, N, H), (B, S, N, H), (B, S, N, H), (B, N, T, S))
    return [jax.random.normal(key, shape).astype(dtype) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize("has_bias", [False, True])
def test_head_by_head_is_the_same_attention(has_bias):
    q, k, v, bias = inputs()

    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2, 3), has_aux=True)
    def run(q, k, v, bias, backend):
        y = attention(q, k, v, LENGTHS, backend=backend, bias=bias if has_bias else None)
        return jnp.sum(jnp.square(y)), y

    (_, expected), gradients = run(q, k, v, bias, "xla")
    (_, found), found_gradients = run(q, k, v, bias, "heads")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for one, two in zip(gradients, found_gradients, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_head_by_head_in_bfloat16_rounds_as_the_whole_does():
    q, k, v, _ = inputs(jnp.bfloat16)
    expected, found = (attention(q, k, v, LENGTHS, backend=name).astype(jnp.float32) for name in ("xla", "heads"))
    np.testing.assert_allclose(found, expected, atol=2e-2)


def test_padded_keys_change_nothing():
    q, k, v, _ = inputs()
    noise = jnp.where(jnp.arange(S)[None, :, None, None] < LENGTHS[:, None, None, None], jnp.float32(0), jnp.float32(9))
    for backend in ("xla", "heads"):
        clean, dirty = (attention(q, k + x, v + x, LENGTHS, backend=backend) for x in (jnp.float32(0), noise))
        np.testing.assert_array_equal(clean, dirty)

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.layers.attention import attention, chosen_backend
from metis_jax.sharding import MESH_AXES, RULES, MeshConfig, activate, make_mesh

B, T, S, N, H = 2, 7, 9, 3, 4
LENGTHS = jnp.array([9, 4], jnp.int32)


def inputs(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((B, T, N, H), (B, S, N, H), (B, S, N, H), (B, N, T, S))
    return [jax.random.normal(key, shape).astype(dtype) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize("has_bias", [False, True])
def test_head_by_head_is_the_same_attention(has_bias):
    q, k, v, bias = inputs()

    @functools.partial(jax.jit, static_argnums=4)
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
    attend = jax.jit(attention, static_argnames="backend")
    expected, found = (attend(q, k, v, LENGTHS, backend=name).astype(jnp.float32) for name in ("xla", "heads"))
    np.testing.assert_allclose(found, expected, atol=2e-2)


def test_padded_keys_change_nothing():
    q, k, v, _ = inputs()
    noise = jnp.where(jnp.arange(S)[None, :, None, None] < LENGTHS[:, None, None, None], jnp.float32(0), jnp.float32(9))
    for backend in ("xla", "heads"):
        clean, dirty = (attention(q, k + x, v + x, LENGTHS, backend=backend) for x in (jnp.float32(0), noise))
        np.testing.assert_array_equal(clean, dirty)


def run_with_gradients(backend, q, k, v, lengths):
    """Output at valid queries, and gradients by all three."""

    def total(q, k, v):
        y = attention(q, k, v, lengths, backend=backend).astype(jnp.float32)
        is_valid = jnp.arange(q.shape[1])[None, :, None, None] < lengths[:, None, None, None]
        y = jnp.where(is_valid, y, jnp.float32(0))
        return jnp.sum(jnp.square(y)), y

    (_, y), gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))(q, k, v)
    return [y, *gradients]


def queries_keys_values(rows, frames, heads, width):
    keys = jax.random.split(jax.random.key(1), 3)
    return [jax.random.normal(key, (rows, frames, heads, width)) for key in keys]


def test_splash_is_the_same_attention_whatever_the_padding():
    q, k, v = queries_keys_values(2, 150, 2, 16)  # two blocks of 128 frames, the second mostly padding
    lengths = jnp.array([150, 70], jnp.int32)
    expected, found = (run_with_gradients(backend, q, k, v, lengths) for backend in ("xla", "splash"))
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-4)


def test_splash_runs_on_the_rows_and_heads_of_each_device():
    q, k, v = queries_keys_values(4, 40, 4, 8)
    lengths = jnp.array([40, 1, 17, 33], jnp.int32)
    expected = run_with_gradients("xla", q, k, v, lengths)
    with activate(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))):
        found = run_with_gradients("splash", q, k, v, lengths)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-4)


@pytest.mark.parametrize(
    ("platform", "kind", "rows", "dtype", "has_bias", "backend"),
    [
        ("tpu", "TPU v5 lite", 4, jnp.bfloat16, False, "splash"),
        ("tpu", "TPU v5 lite", 1, jnp.bfloat16, False, "xla"),  # which four devices can not share
        ("tpu", "TPU v5 lite", 4, jnp.bfloat16, True, "xla"),
        ("gpu", "NVIDIA H100 80GB HBM3", 4, jnp.float32, False, "xla"),
        ("gpu", "AMD Instinct MI300X", 4, jnp.bfloat16, False, "xla"),
        ("cpu", "cpu", 4, jnp.float32, False, "xla"),
    ],
)
def test_auto_is_chosen_for_the_devices_of_the_mesh(platform, kind, rows, dtype, has_bias, backend):
    device = jax.sharding.AbstractDevice(device_kind=kind, num_cores=1, platform=platform)
    mesh = jax.sharding.AbstractMesh((2, 2, 1), MESH_AXES, abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh), nn.logical_axis_rules(RULES):
        assert chosen_backend(jnp.zeros((rows, T, N, H), dtype), has_bias=has_bias) == backend

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.config import LoraConfig
from metis_jax.layers.dense import Projection, join_lora, merge_lora, split_lora

LORA = LoraConfig(rank=3, alpha=6.0, dropout=0.5)


@pytest.fixture
def adapted():
    layer = Projection(5, ("embed", "mlp"), LORA)
    x = jax.random.normal(jax.random.key(0), (2, 7, 4))
    variables = nn.unbox(layer.init(jax.random.key(1), x, deterministic=True))
    return layer, x, variables


def test_new_adapter_equals_base(adapted):
    layer, x, variables = adapted
    base = Projection(5, ("embed", "mlp"))
    plain, _ = split_lora(variables["params"])
    np.testing.assert_array_equal(
        layer.apply(variables, x, deterministic=True), base.apply({"params": plain}, x, deterministic=True)
    )


def test_merged_adapter_equals_adapted(adapted):
    layer, x, variables = adapted
    up = jax.random.normal(jax.random.key(2), (3, 5))
    base, lora = split_lora(variables["params"])
    lora["lora"]["up"] = up
    params = join_lora(base, lora)
    merged = merge_lora(params, LORA)
    assert "lora" not in merged
    expected = layer.apply({"params": params}, x, deterministic=True)
    got = Projection(5, ("embed", "mlp")).apply({"params": merged}, x, deterministic=True)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert not np.allclose(got, x @ base["kernel"], atol=1e-2)


def test_dropout_touches_the_adapter_only(adapted):
    layer, x, variables = adapted
    base, lora = split_lora(variables["params"])
    noisy = layer.apply(variables, x, deterministic=False, rngs={"dropout": jax.random.key(3)})
    np.testing.assert_array_equal(noisy, x @ base["kernel"])  # `up` is zero, whatever dropout does
    lora["lora"]["up"] = jnp.ones((3, 5))
    params = {"params": join_lora(base, lora)}
    first, second = (layer.apply(params, x, deterministic=False, rngs={"dropout": jax.random.key(i)}) for i in (3, 4))
    assert not np.allclose(first, second)

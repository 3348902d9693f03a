"""Convolutions: the depthwise form, weight normalisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.layers.conv import Conv1d, depthwise


@pytest.mark.parametrize(("width", "padding", "dilation"), [(7, (3, 3), 1), (5, (8, 0), 2), (3, (0, 0), 1)])
def test_depthwise_equals_one_group_per_channel(width, padding, dilation):
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(size=(2, 20, 6)), jnp.float32)
    kernel = jnp.asarray(draw.normal(size=(width, 1, 6)), jnp.float32)
    expected = jax.lax.conv_general_dilated(
        x,
        kernel,
        (1,),
        (padding,),
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=6,
    )
    np.testing.assert_allclose(depthwise(x, kernel, padding, dilation), expected, rtol=1e-5, atol=1e-6)


def test_weight_norm_starts_with_the_kernel_as_drawn_and_then_separates_length_from_direction():
    conv = Conv1d(4, 3, use_bias=False, weight_norm=True)
    x = jax.random.normal(jax.random.key(1), (1, 8, 5))
    params = nn.unbox(conv.init(jax.random.key(0), x))["params"]
    plain = Conv1d(4, 3, use_bias=False)
    np.testing.assert_allclose(
        conv.apply({"params": params}, x),
        plain.apply({"params": {"kernel": params["direction"]}}, x),
        rtol=1e-5,
        atol=1e-7,
    )
    longer = {"direction": params["direction"] * 3, "gain": params["gain"] * 2}
    np.testing.assert_allclose(
        conv.apply({"params": longer}, x), 2 * conv.apply({"params": params}, x), rtol=1e-5, atol=1e-7
    )

"""The Vocos backbone: its receptive field and its two execution forms."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.layers.convnext import VocosBackbone
from metis_jax.layers.stack import unstack_params
from metis_jax.types import Policy

LAYERS = 2


@pytest.fixture(scope="module")
def backbone():
    model = VocosBackbone(width=8, mlp_width=12, num_layers=LAYERS)
    x = jax.random.normal(jax.random.key(1), (1, 32, 5))
    lengths = jnp.array([32], jnp.int32)
    variables = jax.jit(lambda: nn.unbox(model.init(jax.random.key(0), x, lengths)))()
    return model, variables, x, lengths


def test_a_frame_sees_three_frames_per_convolution_at_each_side(backbone):
    model, variables, x, lengths = backbone
    slopes = jax.jit(jax.grad(lambda x: jnp.sum(jnp.square(model.apply(variables, x, lengths)[0, 15]))))(x)
    seen = np.flatnonzero(np.abs(slopes[0]).max(-1))
    side = 3 * (LAYERS + 1)
    np.testing.assert_array_equal(seen, np.arange(15 - side, 15 + side + 1))


def test_unrolled_and_rematerialised_equal_scanned(backbone):
    model, variables, x, lengths = backbone
    policy = Policy(scan=False, remat="full")
    unrolled = {"params": unstack_params(variables["params"])}
    expected = jax.jit(model.apply)(variables, x, lengths)
    actual = jax.jit(dataclasses.replace(model, policy=policy).apply)(unrolled, x, lengths)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_layer_scale_starts_at_the_share_of_a_block(backbone):
    np.testing.assert_array_equal(backbone[1]["params"]["layers"]["scale"], np.full((LAYERS, 8), 1 / LAYERS))

"""The SSL encoder: parity, padding, mask embedding, execution policies, the published size."""

import dataclasses
import functools
import math
from pathlib import Path

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from metis_jax.config import SIZES, SslEncoderConfig
from metis_jax.convert.rules import to_tensors, to_variables
from metis_jax.convert.ssl_encoder import RULES, config_from_shapes
from metis_jax.layers.stack import keep_layers, unstack_params
from metis_jax.models.components import abstract_variables
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.types import Policy

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = SIZES["tiny"][SslEncoderConfig]
# Shorter contexts than any input, so that clipping is at work in every test.
SMALL = dataclasses.replace(TINY, width=32, mlp_width=48, hidden_layer=2, left_context=5, right_context=2, conv_width=5)
EXACT = Policy()


def relative_error(a, b):
    return np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)


def official_tensors(config):
    """Weights of a checkpoint with as many layers as `config` runs."""
    variables = abstract_variables(config)
    return recipe.state_dict(recipe.official_shapes(RULES, {path: leaf.shape for path, leaf in variables.items()}))


@functools.cache
def forward(policy=EXACT):
    return jax.jit(functools.partial(SslEncoder(SMALL, policy).apply, deterministic=True))


@pytest.fixture(scope="module")
def small():
    draw = np.random.default_rng(4)
    statistics = {"mean": draw.normal(size=32), "variance": draw.uniform(0.5, 2, 32)}
    params = to_variables(RULES, official_tensors(SMALL))["params"]
    return jax.tree.map(jnp.float32, {"params": params, "statistics": statistics})


def batch(seed, t=19):
    draw = np.random.default_rng(seed)
    return jnp.asarray(draw.normal(size=(3, t, 160)).astype(np.float32)), jnp.array([t, 11, 6], jnp.int32)


@pytest.fixture(scope="module")
def official():
    tensors = official_tensors(dataclasses.replace(TINY, hidden_layer=TINY.num_layers))
    assert config_from_shapes({name: tensor.shape for name, tensor in tensors.items()}) == TINY
    variables = to_variables(RULES, tensors)
    back = to_tensors(RULES, variables)
    assert all(np.array_equal(back[name], tensor) for name, tensor in tensors.items())
    return variables["params"]


@pytest.mark.parametrize("layer", [0, 1, 3, 4])
def test_hidden_states_equal_the_reference(official, layer):
    golden = np.load(GOLDEN / "tiny_w2v_bert.npz")
    model = SslEncoder(dataclasses.replace(TINY, hidden_layer=layer))
    statistics = {"mean": jnp.zeros(TINY.width), "variance": jnp.ones(TINY.width)}
    variables = {"params": keep_layers(official, layer), "statistics": statistics}
    lengths = jnp.asarray(golden["is_valid"].sum(axis=1), jnp.int32)
    hidden = jax.jit(model.apply, static_argnames="deterministic")(
        variables, jnp.asarray(golden["features"]), lengths, deterministic=True
    )
    # Padded frames too: the half-padded last frame of an odd count is one of them.
    assert relative_error(hidden, golden[f"hidden{layer}"]) < 1e-5


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_padding_and_neighbours_change_nothing(small, seed):
    features, lengths = batch(seed)
    together = forward()(small, features, lengths)
    other = forward()(small, features[::-1], lengths[::-1])[::-1]
    for row, length in enumerate(map(int, lengths)):
        # One frame of padding is kept by callers with an odd count of log-mel frames.
        kept = min(length + 1, features.shape[1])
        alone = forward()(small, features[row : row + 1, :kept], lengths[row : row + 1])
        np.testing.assert_allclose(together[row, :kept], alone[0], atol=1e-5)
        np.testing.assert_allclose(other[row, :kept], alone[0], atol=1e-5)


def test_features_are_normalised_hidden_states(small):
    features, lengths = batch(3)
    mean, variance = map(np.asarray, (small["statistics"]["mean"], small["statistics"]["variance"]))
    hidden = np.asarray(forward()(small, features, lengths))
    normalised = jax.jit(functools.partial(SslEncoder(SMALL).apply, method="features"))(small, features, lengths)
    np.testing.assert_allclose(normalised, (hidden - mean) / np.sqrt(variance), rtol=1e-4, atol=1e-5)


def test_masked_frames_are_the_mask_embedding(small):
    features, lengths = batch(5)
    is_masked = jnp.zeros(features.shape[:2], bool).at[:, 2:4].set(True)
    noise = jnp.where(is_masked[:, :, None], jnp.float32(7), features)
    masked = forward()(small, features, lengths, is_masked=is_masked)
    np.testing.assert_array_equal(masked, forward()(small, noise, lengths, is_masked=is_masked))
    assert relative_error(masked[:, 2:4], np.asarray(forward()(small, features, lengths))[:, 2:4]) > 0.01


@functools.cache
def loss_and_gradient(policy):
    def loss(params, statistics, features, lengths):
        variables = {"params": params, "statistics": statistics}
        hidden = SslEncoder(SMALL, policy).apply(variables, features, lengths, deterministic=True)
        return jnp.mean(jnp.square(hidden[:, :6]))

    return jax.jit(jax.value_and_grad(loss))


@pytest.mark.parametrize("policy", [Policy(remat="full"), Policy(remat="dots", scan=False)])
def test_execution_policies_agree(small, policy):
    inputs = small["statistics"], *batch(6)
    params = small["params"]
    expected, gradient = loss_and_gradient(EXACT)(params, *inputs)
    if not policy.scan:
        params, gradient = unstack_params(params), unstack_params(gradient)
    value, other = loss_and_gradient(policy)(params, *inputs)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    # The mask embedding has no gradient without a mask; everything else has.
    flat = flax.traverse_util.flatten_dict(gradient)
    assert {path for path, leaf in flat.items() if not np.any(leaf)} == {("mask_embedding",)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), other, gradient)


def test_bfloat16_stays_near_float32(small):
    features, lengths = batch(7)
    exact = np.asarray(forward()(small, features, lengths))[:, :6]
    rough = forward(Policy(dtype="bfloat16"))(small, features, lengths)[:, :6]
    assert rough.dtype == jnp.bfloat16
    assert 0 < relative_error(rough.astype(jnp.float32), exact) < 0.05


def test_dropout_acts_in_training_alone(small):
    features, lengths = batch(8)
    model = SslEncoder(dataclasses.replace(SMALL, dropout=0.5))

    @functools.partial(jax.jit, static_argnums=1)
    def run(seed, deterministic):
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply(small, features, lengths, deterministic=deterministic, rngs=rngs)

    np.testing.assert_array_equal(run(0, True), run(1, True))
    assert not np.array_equal(run(0, False), run(1, False))


def test_initialisation_is_finite():
    features, lengths = batch(9)
    variables = jax.jit(lambda key: nn.unbox(SslEncoder(SMALL).init(key, features, lengths, deterministic=True)))(
        jax.random.key(0)
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(variables))
    np.testing.assert_array_equal(variables["statistics"]["variance"], 1)


def test_published_size():
    shapes = abstract_variables(SslEncoderConfig(hidden_layer=24))
    count = sum(math.prod(leaf.shape) for path, leaf in shapes.items() if path.startswith("params/"))
    assert count == 580_493_120
    assert abstract_variables(SslEncoderConfig())["params/layers/ff1/in/kernel"].shape == (17, 1024, 4096)

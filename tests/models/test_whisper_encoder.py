"""The encoder of Whisper: parity with the formulas, padding, execution policies, the published sizes."""

import dataclasses
import functools
import math

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from scipy.special import erf

from metis_jax.config import SIZES, WhisperEncoderConfig
from metis_jax.convert.rules import to_tensors, to_variables
from metis_jax.convert.whisper_encoder import PREFIX, RULES, config_from_shapes
from metis_jax.layers.stack import keep_layers, unstack_params
from metis_jax.models.components import abstract_variables
from metis_jax.models.whisper_encoder import WhisperEncoder
from metis_jax.types import Policy
from metis_jax.weights.bundle import UNUSED

# Heads of 64, as shapes do not tell how many there are.
SMALL = WhisperEncoderConfig(mel_bins=20, width=128, num_layers=3, hidden_layer=2, num_heads=2, mlp_width=96)
EXACT = Policy()
STATISTICS = {"mean": jnp.zeros(SMALL.width), "variance": jnp.ones(SMALL.width)}


def whole(config):
    return dataclasses.replace(config, hidden_layer=config.num_layers)


@functools.cache
def official():
    shapes = {path: leaf.shape for path, leaf in abstract_variables(whole(SMALL)).items()}
    shapes = {path: shape for path, shape in shapes.items() if not path.startswith("statistics")}
    shapes |= {f"{UNUSED}/final_norm/{name}": (SMALL.width,) for name in ("scale", "bias")}
    shapes[f"{UNUSED}/positions"] = (1500, SMALL.width)
    return recipe.state_dict(recipe.official_shapes(RULES, shapes))


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(jnp.asarray, to_variables(RULES, official())["params"])


def variables_of(params, layer):
    return {"params": keep_layers(params, layer), "statistics": STATISTICS}


@functools.cache
def forward(layer=2, policy=EXACT):
    return jax.jit(WhisperEncoder(dataclasses.replace(SMALL, hidden_layer=layer), policy).apply)


def batch(seed, t=23):
    features = np.random.default_rng(seed).normal(size=(3, t, SMALL.mel_bins)).astype(np.float32)
    return jnp.asarray(features), jnp.array([t, 12, 5], jnp.int32)


def restated(mel, layers):
    """The paper's encoder for one utterance [t, m] in float64, from the published tensors."""
    w = {name.removeprefix(PREFIX): tensor.astype(np.float64) for name, tensor in official().items()}
    width = SMALL.width

    def gelu(x):
        return x * (1 + erf(x / math.sqrt(2))) / 2

    def norm(x, name):
        x = x - x.mean(axis=1, keepdims=True)
        return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    def conv(x, name, stride):
        x = np.pad(x, ((1, 1), (0, 0)))
        taps = np.stack([x[i : i + 3] for i in range(0, len(x) - 2, stride)])  # [t, 3, c]
        return np.einsum("tkc,ock->to", taps, w[f"{name}.weight"]) + w[f"{name}.bias"]

    x = gelu(conv(gelu(conv(mel.astype(np.float64), "conv1", 1)), "conv2", 2))
    rates = 10000 ** (-np.arange(width // 2) / (width // 2 - 1))
    angles = np.outer(np.arange(len(x)), rates)
    x = x + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    for layer in range(layers):
        of = f"layers.{layer}."
        y = norm(x, f"{of}self_attn_layer_norm")
        q, k, v = (linear(y, f"{of}self_attn.{name}_proj").reshape(len(x), -1, 64) for name in "qkv")
        scores = np.einsum("tnh,snh->nts", q, k) / 8
        scores = np.exp(scores - scores.max(axis=2, keepdims=True))
        y = np.einsum("nts,snh->tnh", scores / scores.sum(axis=2, keepdims=True), v).reshape(len(x), width)
        x = x + linear(y, f"{of}self_attn.out_proj")
        x = x + linear(gelu(linear(norm(x, f"{of}final_layer_norm"), f"{of}fc1")), f"{of}fc2")
    return x


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_hidden_states_equal_the_formulas(params, layer):
    features, lengths = batch(layer)
    hidden = forward(layer)(variables_of(params, layer), features, lengths)
    for row, length in enumerate(map(int, lengths)):
        expected = restated(np.asarray(features[row, :length]), layer)
        assert len(expected) == -(-length // 2)
        error = np.linalg.norm(hidden[row, : len(expected)] - expected) / np.linalg.norm(expected)
        assert error < 1e-5


def test_what_lies_in_the_padding_changes_nothing(params):
    features, lengths = batch(7)
    is_padding = np.arange(features.shape[1])[None, :, None] >= np.asarray(lengths)[:, None, None]
    other = jnp.where(is_padding, jnp.float32(9), features)
    together = forward()(variables_of(params, 2), features, lengths)
    again = forward()(variables_of(params, 2), other, lengths)
    for row, length in enumerate(map(int, lengths)):
        np.testing.assert_array_equal(together[row, : -(-length // 2)], again[row, : -(-length // 2)])


def test_tensors_come_back_and_tell_the_configuration():
    tensors = official()
    assert config_from_shapes({name: tensor.shape for name, tensor in tensors.items()}) == SMALL
    back = to_tensors(RULES, to_variables(RULES, tensors))
    assert back.keys() == tensors.keys()
    assert all(np.array_equal(back[name], tensor) for name, tensor in tensors.items())


def test_features_are_states_normalised_by_the_statistics(params):
    statistics = {"mean": jnp.full(SMALL.width, 0.5), "variance": jnp.full(SMALL.width, 4.0)}
    hidden = forward()(variables_of(params, 2), *batch(3))
    run = jax.jit(functools.partial(WhisperEncoder(SMALL).apply, method="features"))
    features = run(variables_of(params, 2) | {"statistics": statistics}, *batch(3))
    np.testing.assert_allclose(features, (hidden - 0.5) / 2, atol=1e-5)


@functools.cache
def loss_and_gradient(policy):
    def loss(params, features, lengths):
        hidden = WhisperEncoder(SMALL, policy).apply({"params": params, "statistics": STATISTICS}, features, lengths)
        return jnp.mean(jnp.square(hidden[:, :3].astype(jnp.float32)))

    return jax.jit(jax.value_and_grad(loss))


@pytest.mark.parametrize("policy", [Policy(remat="full", attention="heads"), Policy(remat="dots", scan=False)])
def test_execution_policies_agree(params, policy):
    params = keep_layers(params, 2)
    expected, gradient = loss_and_gradient(EXACT)(params, *batch(6))
    if not policy.scan:
        params, gradient = unstack_params(params), unstack_params(gradient)
    value, other = loss_and_gradient(policy)(params, *batch(6))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert all(np.any(leaf) for leaf in flax.traverse_util.flatten_dict(gradient).values())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), other, gradient)


def test_bfloat16_stays_near_float32(params):
    features, lengths = batch(7)
    exact = np.asarray(forward()(variables_of(params, 2), features, lengths))[0]
    rough = forward(2, Policy(dtype="bfloat16"))(variables_of(params, 2), features, lengths)[0]
    assert rough.dtype == jnp.bfloat16
    error = np.linalg.norm(rough.astype(jnp.float32) - exact) / np.linalg.norm(exact)
    assert 0 < error < 0.05


@pytest.mark.parametrize("config", [WhisperEncoderConfig(), SIZES["tiny"][WhisperEncoderConfig]])
def test_only_the_layers_that_are_run_are_built(config):
    shapes = abstract_variables(config)
    assert shapes["params/layers/query/kernel"].shape == (config.hidden_layer, config.width, config.width)


@pytest.mark.parametrize(
    "config, count",
    [
        (WhisperEncoderConfig(), 7_632_384),  # 8,208,384 less 1,500 positions; a norm is as large as the statistics
        (WhisperEncoderConfig(width=512, num_layers=6, hidden_layer=5, num_heads=8, mlp_width=2048), 19_822_592),
    ],
)
def test_published_sizes(config, count):
    assert sum(math.prod(leaf.shape) for leaf in abstract_variables(whole(config)).values()) == count

"""The semantic codec: parity with the authors' module, padding, the published size, a training gradient."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from metis_jax.config import SemanticCodecConfig
from metis_jax.convert.rules import to_tensors, to_variables
from metis_jax.convert.semantic_codec import RULES, config_from_shapes
from metis_jax.models.components import abstract_variables
from metis_jax.models.semantic_codec import SemanticCodec

GOLDEN = Path(__file__).parents[1] / "golden" / "tiny_semantic_codec.npz"
CONFIG = SemanticCodecConfig(feature_width=32, codebook_size=64, code_width=4, width=24, mlp_width=48, num_layers=3)


@pytest.fixture(scope="module")
def official():
    shapes = {path: leaf.shape for path, leaf in abstract_variables(CONFIG).items()}
    return recipe.state_dict(recipe.official_shapes(RULES, shapes))


@pytest.fixture(scope="module")
def variables(official):
    return jax.tree.map(jnp.asarray, to_variables(RULES, official))


@jax.jit
def run(variables, features, lengths):
    def codec(x, method):
        return SemanticCodec(CONFIG).apply(variables, x, lengths, method=method)

    codes, quantized = codec(features, "quantize")
    return {
        "encoded": codec(features, "latents"),
        "codes": codes,
        "quantized": quantized,
        "reconstruction": codec(codes, "decode"),
    }


def test_equals_the_reference(variables):
    golden = np.load(GOLDEN)
    result = run(variables, jnp.asarray(golden["features"]), jnp.array([37, 37], jnp.int32))
    for name, actual in result.items():
        if name == "codes":
            np.testing.assert_array_equal(actual, golden[name])
        else:
            error = np.linalg.norm(actual - golden[name]) / np.linalg.norm(golden[name])
            assert error < 1e-5, name


@pytest.mark.parametrize("seed", range(3))
def test_padding_and_neighbours_change_nothing(variables, seed):
    draw = np.random.default_rng(seed)
    length = int(draw.integers(1, 37))
    features = draw.normal(size=(2, 37, 32)).astype(np.float32)
    other = draw.normal(size=(2, 37, 32)).astype(np.float32)
    other[0, :length] = features[0, :length]
    first = run(variables, jnp.asarray(features), jnp.array([length, 37], jnp.int32))
    second = run(variables, jnp.asarray(other), jnp.array([length, 20], jnp.int32))
    for name, actual in first.items():
        np.testing.assert_allclose(actual[0, :length], second[name][0, :length], atol=1e-5, err_msg=name)


def test_a_row_is_coded_in_a_batch_as_it_is_alone(variables):
    features = jnp.asarray(np.random.default_rng(5).normal(size=(2, 37, 32)), jnp.float32)
    batched = run(variables, features, jnp.array([11, 37], jnp.int32))
    alone = run(variables, features[:1, :11], jnp.array([11], jnp.int32))
    for name, actual in alone.items():
        np.testing.assert_allclose(actual[0], batched[name][0, :11], atol=1e-5, err_msg=name)


def test_conversion_is_lossless_and_finds_the_sizes(official, variables):
    assert config_from_shapes({name: tensor.shape for name, tensor in official.items()}) == CONFIG
    back = to_tensors(RULES, variables)
    assert back.keys() == official.keys()
    assert all(np.array_equal(back[name], tensor) for name, tensor in official.items())


def test_published_size():
    variables = abstract_variables(SemanticCodecConfig())
    assert sum(math.prod(leaf.shape) for leaf in variables.values()) == 44_289_808


def test_every_parameter_gets_a_gradient(variables):
    features = jnp.asarray(np.random.default_rng(6).normal(size=(2, 37, 32)), jnp.float32)
    lengths = jnp.array([37, 20], jnp.int32)

    def loss(variables):
        reconstruction, output = SemanticCodec(CONFIG).apply(variables, features, lengths)
        return jnp.mean(jnp.abs(reconstruction - features)) + jnp.sum(output.commitment_loss + output.codebook_loss)

    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables)):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, jax.tree_util.keystr(path)

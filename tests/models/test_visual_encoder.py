"""The visual encoder: parity, padding, batch statistics, execution policies, the published size."""

import dataclasses
import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from metis_jax.config import SIZES, VisualEncoderConfig
from metis_jax.convert.rules import to_tensors, to_variables
from metis_jax.convert.visual_encoder import RULES, config_from_shapes
from metis_jax.layers.stack import unstack_params
from metis_jax.models.components import abstract_variables
from metis_jax.models.visual_encoder import VisualEncoder
from metis_jax.types import Policy
from metis_jax.weights.bundle import UNUSED

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = dataclasses.replace(SIZES["tiny"][VisualEncoderConfig], stem_channels=64)
SMALL = VisualEncoderConfig(crop=24, stem_channels=16, width=32, num_layers=2, num_heads=4, mlp_width=48, conv_width=5)
LENGTHS = jnp.array([9, 4, 4], jnp.int32)
EXACT = Policy()


def relative_error(a, b):
    return np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)


def with_counters(config):
    """Our variables and, beside every running mean, the checkpoint's count of batches: {path: shape}."""
    shapes = {path: leaf.shape for path, leaf in abstract_variables(config).items()}
    means = [path for path in shapes if path.startswith("batch_stats/") and path.endswith("/mean")]
    counters = {path.replace("batch_stats", UNUSED).replace("/mean", "/count"): shapes[path][:-1] for path in means}
    return shapes | counters


def official_tensors(config):
    return recipe.state_dict(recipe.official_shapes(RULES, with_counters(config)))


@pytest.fixture(scope="module")
def small():
    variables = to_variables(RULES, official_tensors(SMALL))
    return {name: variables[name] for name in ("params", "batch_stats")}


@functools.cache
def forward(policy=EXACT):
    return jax.jit(functools.partial(VisualEncoder(SMALL, policy).apply, train=False))


def batch(seed):
    draw = np.random.default_rng(seed)
    return jnp.asarray(draw.normal(size=(3, 9, SMALL.crop, SMALL.crop, 1)).astype(np.float32))


def test_equals_the_reference():
    golden = np.load(GOLDEN / "tiny_visual_encoder.npz")
    tensors = official_tensors(TINY)
    assert config_from_shapes({name: tensor.shape for name, tensor in tensors.items()}) == TINY
    variables = to_variables(RULES, tensors)
    back = to_tensors(RULES, variables)
    assert all(np.array_equal(back[name], tensor) for name, tensor in tensors.items())
    del variables[UNUSED]
    video = jnp.asarray(recipe.inputs("video", (1, 9, 1, 88, 88)).transpose(0, 1, 3, 4, 2))

    def run(variables, video):
        return VisualEncoder(TINY).apply(
            variables,
            video,
            jnp.array([9], jnp.int32),
            train=False,
            capture_intermediates=lambda module, _: module.name == "frontend",
            mutable=["intermediates"],
        )

    encoded, captured = jax.jit(run)(variables, video)
    assert relative_error(captured["intermediates"]["frontend"]["__call__"][0], golden["frontend"]) < 1e-5
    assert relative_error(encoded, golden["encoded"]) < 1e-5


@pytest.mark.parametrize("seed", [0, 1])
def test_padding_and_neighbours_change_nothing(small, seed):
    video = batch(seed)
    together = forward()(small, video, LENGTHS)
    other = forward()(small, video[::-1], LENGTHS[::-1])[::-1]
    np.testing.assert_allclose(other[0], together[0], atol=1e-5)
    for row in (1, 2):  # which are padded
        alone = forward()(small, video[row : row + 1, :4], LENGTHS[row : row + 1])
        np.testing.assert_allclose(together[row, :4], alone[0], atol=1e-5)
        np.testing.assert_allclose(other[row, :4], alone[0], atol=1e-5)


def test_training_statistics_are_of_valid_frames_alone(small):
    train = jax.jit(functools.partial(VisualEncoder(SMALL).apply, train=True, mutable=["batch_stats"]))
    video = batch(3)
    longer = jnp.pad(video, ((0, 0), (0, 3), (0, 0), (0, 0), (0, 0)), constant_values=50)
    _, updated = train(small, video, LENGTHS)
    _, other = train(small, longer, LENGTHS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), updated, other)
    for old, new in zip(jax.tree.leaves(small["batch_stats"]), jax.tree.leaves(updated), strict=True):
        assert np.all(np.isfinite(new)) and not np.array_equal(old, new)


@pytest.mark.parametrize("policy", [Policy(scan=False), Policy(remat="full")])
def test_execution_policies_agree(small, policy):
    video = batch(4)
    other = forward(policy)(small if policy.scan else unstack_params(small), video, LENGTHS)
    np.testing.assert_allclose(other[:, :3], forward()(small, video, LENGTHS)[:, :3], atol=1e-5)


def test_bfloat16_stays_near_float32(small):
    video = batch(5)
    rough = forward(Policy(dtype="bfloat16"))(small, video, LENGTHS)[:, :3]
    assert rough.dtype == jnp.bfloat16
    assert 0 < relative_error(rough.astype(jnp.float32), np.asarray(forward()(small, video, LENGTHS))[:, :3]) < 0.1


def test_another_crop_is_refused():
    with pytest.raises(ValueError, match="96x96"):
        abstract = jax.ShapeDtypeStruct((1, 2, 96, 96, 1), jnp.float32)
        model = VisualEncoder(VisualEncoderConfig())
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, jnp.array([2], jnp.int32), train=False), abstract)


def test_published_size():
    # As the checkpoint counts: running statistics and batch counters included.
    assert sum(map(math.prod, with_counters(VisualEncoderConfig()).values())) == 182_056_288
    heads = dataclasses.replace(VisualEncoderConfig(), num_heads=16)
    assert abstract_variables(heads)["params/layers/attention/content_bias"].shape == (12, 16, 48)

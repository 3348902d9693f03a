"""Schedules, rules, and what is trained of the real models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import mini

from metis_jax.config import LoraConfig, SemanticGeneratorConfig
from metis_jax.sharding import MeshConfig, make_mesh
from metis_jax.training.optim import (
    OptimizerConfig,
    by_rules,
    learning_rate,
    make_optimizer,
    split_trainable,
)
from metis_jax.training.state import StateMaker, count_params, make_layout
from metis_jax.training.trainers.semantic_generator import SemanticGeneratorTrainer

TREE = {"params": {"a": {"kernel": np.ones((2, 3)), "bias": np.ones(3)}, "b": {"lora": {"up": np.ones((1, 3))}}}}


def test_inverse_square_root_rises_and_falls():
    rate = learning_rate(OptimizerConfig(learning_rate=1e-4, warmup_steps=100))
    assert float(rate(0)) == pytest.approx(1e-6)
    assert float(rate(99)) == pytest.approx(1e-4)
    assert float(rate(399)) == pytest.approx(0.5e-4)


def test_cosine_ends_at_its_fraction():
    config = OptimizerConfig(learning_rate=1.0, schedule="cosine", warmup_steps=10, total_steps=110, final_fraction=0.1)
    rate = learning_rate(config)
    assert float(rate(59)) == pytest.approx(0.55)
    assert float(rate(109)) == pytest.approx(0.1)
    assert float(rate(500)) == pytest.approx(0.1)


def test_exponential_falls_by_a_factor_at_every_step():
    steps, gamma = 400_000, 0.999996
    falling = dict(schedule="exponential", warmup_steps=0, total_steps=steps, final_fraction=gamma**steps)
    rate = learning_rate(OptimizerConfig(learning_rate=1.0, **falling))
    for step in (0, 1, 100_000, 250_000, 500_000):
        assert float(rate(step)) == pytest.approx(gamma**step, rel=2e-5)
    warm = learning_rate(OptimizerConfig(learning_rate=1.0, **(falling | {"warmup_steps": 10})))
    assert float(warm(4)) == pytest.approx(0.5)
    assert float(warm(9)) == pytest.approx(1)


def test_bad_optimizers_are_refused():
    with pytest.raises(ValueError, match="final_fraction is 0.0; schedule exponential"):
        OptimizerConfig(schedule="exponential", total_steps=50_000)
    with pytest.raises(ValueError, match="schedule is 'linear'"):
        OptimizerConfig(schedule="linear")
    with pytest.raises(ValueError, match="total_steps is 10"):
        OptimizerConfig(schedule="cosine", warmup_steps=10, total_steps=10)
    with pytest.raises(ValueError, match="first_moment is 'float16'; use one of float32, bfloat16"):
        OptimizerConfig(first_moment="float16")


def test_a_first_moment_in_half_the_bytes_moves_parameters_nearly_alike():
    params = {"params": {"a": jnp.linspace(-1, 1, 64).reshape(8, 8)}}
    moved, kept = {}, {}
    for dtype in ("float32", "bfloat16"):
        optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup_steps=1, first_moment=dtype))
        state, own = optimizer.init(params), params
        for step in range(20):
            gradients = jax.tree.map(lambda x: jnp.sin(7 * x + jnp.float32(step)), own)  # noqa: B023
            updates, state = optimizer.update(gradients, state, own)
            own = jax.tree.map(jnp.add, own, updates)
        moved[dtype] = own["params"]["a"] - params["params"]["a"]
        kept[dtype] = sum(leaf.nbytes for leaf in jax.tree.leaves(state) if leaf.ndim)
    np.testing.assert_allclose(moved["bfloat16"], moved["float32"], atol=2e-3)
    assert kept["bfloat16"] == 0.75 * kept["float32"]


def test_the_first_matching_rule_wins():
    rules = ((r"params/a/.*", False), (r".*", True))
    assert by_rules(TREE, rules, "x") == {
        "params": {"a": {"kernel": False, "bias": False}, "b": {"lora": {"up": True}}}
    }


def test_a_path_without_a_rule_is_an_error():
    with pytest.raises(ValueError, match="no rule of optimizer.decay matches parameter 'params/b/lora/up'"):
        by_rules(TREE, ((r"params/a/.*", True),), "optimizer.decay")


def test_rules_match_whole_paths():
    with pytest.raises(ValueError, match="no rule"):
        by_rules(TREE, ((r"params", True),), "x")


def test_decay_reaches_matrices_and_nothing_else():
    params = jax.tree.map(jnp.asarray, TREE)
    optimizer = make_optimizer(OptimizerConfig(warmup_steps=1, learning_rate=1.0, weight_decay=0.5))
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["params"]["a"]["kernel"], -0.5)
    np.testing.assert_allclose(updates["params"]["b"]["lora"]["up"], -0.5)
    np.testing.assert_allclose(updates["params"]["a"]["bias"], 0.0)


def test_matrices_move_by_their_share_of_the_rate():
    params = {"params": {"in": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "table": jnp.ones((3, 2))}}
    adapter = {"condition_adapter": {"in": {"kernel": jnp.ones((2, 2))}}}
    params["params"] |= adapter
    whole, half = (
        make_optimizer(OptimizerConfig(schedule="constant", warmup_steps=1, clip_norm=0.0, matrix_rate=share))
        for share in (1.0, 0.5)
    )
    (due, _), (found, _) = (own.update(params, own.init(params), params) for own in (whole, half))
    np.testing.assert_allclose(found["params"]["in"]["kernel"], 0.5 * due["params"]["in"]["kernel"])
    for path in (("in", "bias"), ("table",), ("condition_adapter", "in", "kernel")):
        one, other = found["params"], due["params"]
        for key in path:
            one, other = one[key], other[key]
        np.testing.assert_array_equal(one, other)


def test_split_parts_the_tree():
    trainable, frozen = split_trainable(TREE, mini.ADAPTERS_ONLY, "x")
    assert list(frozen["params"]) == ["a"]
    assert list(trainable["params"]) == ["b"]


def test_lora_and_adapter_on_the_real_base_count_exactly():
    """The two counts of the release's files: metis_se_lora_32 and metis_se_lora_32_adapter."""
    trainer = SemanticGeneratorTrainer(
        generator=SemanticGeneratorConfig(condition="gated"), lora=LoraConfig(rank=32, alpha=64.0)
    )
    optimizers = {"semantic_generator": OptimizerConfig(trainable=mini.ADAPTERS_ONLY)}
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    layout = make_layout(trainer, optimizers, mesh)
    params = layout.trainable["semantic_generator"]["params"]
    adapter = {"condition_adapter": params["condition_adapter"]}
    assert count_params(adapter) == 15_736_321
    assert count_params(params) - count_params(adapter) == 18_087_936
    assert count_params(layout.frozen) == 725_944_832

    moments = StateMaker(layout, optimizers, mesh, ema=False).shapes.moments["semantic_generator"]
    arrays = [leaf for leaf in jax.tree.leaves(moments) if leaf.ndim]
    assert sum(int(np.prod(leaf.shape)) for leaf in arrays) == 2 * (18_087_936 + 15_736_321)


def test_a_component_frozen_as_a_whole_needs_no_optimizer():
    trainer, _ = mini.trainer_and_optimizers("pretrain")
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    with pytest.raises(ValueError, match="freezes all of semantic_generator"):
        make_layout(trainer, {"semantic_generator": mini.optimizer(trainable=((r".*", False),))}, mesh)
    with pytest.raises(ValueError, match="config.optimizers names 'vocoder'"):
        make_layout(trainer, {"vocoder": mini.optimizer()}, mesh)

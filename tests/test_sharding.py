"""The mesh and its rules: what lands where, and that constraints are really there."""

import json
import pathlib

import jax
import numpy as np
import pytest
from training import mini

from metis_jax.config import AcousticGeneratorConfig, SemanticGeneratorConfig
from metis_jax.sharding import (
    RULES,
    MeshConfig,
    activate,
    batch_sharding,
    check_batch_size,
    feed,
    make_mesh,
    parameter_spec,
    specs_as_text,
)
from metis_jax.training.stages.acoustic_generator import AcousticGeneratorStage
from metis_jax.training.stages.semantic_generator import SemanticGeneratorStage
from metis_jax.training.state import StateMaker, make_layout
from metis_jax.training.steps import make_train_step
from metis_jax.types import CHANNELS, EMBED, HEADS, LOGICAL_AXES, MLP

GOLDEN = pathlib.Path(__file__).parent / "golden" / "sharding"


def test_every_logical_axis_has_a_rule():
    assert sorted(name for name, _ in RULES) == sorted(LOGICAL_AXES)


def test_mesh_fills_in_what_is_left():
    assert dict(make_mesh(MeshConfig(fsdp=2)).shape) == {"data": 4, "fsdp": 2, "tensor": 1}
    assert dict(make_mesh(MeshConfig(data=1), jax.devices()[:1]).shape) == {"data": 1, "fsdp": 1, "tensor": 1}


@pytest.mark.parametrize("config", [MeshConfig(data=3), MeshConfig(fsdp=3), MeshConfig(data=2, fsdp=2)])
def test_a_mesh_that_does_not_divide_the_devices_is_refused(config):
    with pytest.raises(ValueError, match="does not divide 8 devices"):
        make_mesh(config)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="at most one of them -1"):
        MeshConfig(data=-1, fsdp=-1)
    with pytest.raises(ValueError, match="positive"):
        MeshConfig(tensor=0)


def test_a_batch_that_does_not_divide_is_refused():
    mesh = make_mesh(MeshConfig())
    check_batch_size(16, 2, mesh)
    with pytest.raises(ValueError, match="batch_size 12 is not a multiple of accumulate x data x fsdp = 8"):
        check_batch_size(12, 1, mesh)


def test_specs_use_a_mesh_axis_once_and_only_where_it_divides():
    mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))
    assert tuple(parameter_spec((EMBED, MLP), (8, 8), mesh)) == ("fsdp", "tensor")
    assert tuple(parameter_spec((None, EMBED, HEADS), (3, 8, 8), mesh)) == (None, "fsdp", "tensor")
    assert tuple(parameter_spec((CHANNELS, CHANNELS), (8, 8), mesh)) == ("fsdp",)
    assert tuple(parameter_spec((CHANNELS, CHANNELS), (6, 8), mesh)) == (None, "fsdp")
    assert tuple(parameter_spec((EMBED,), (6,), mesh)) == ()


def test_feed_makes_global_arrays_split_by_rows():
    mesh = make_mesh(MeshConfig(data=2, fsdp=4))
    x = np.arange(16, dtype=np.float32).reshape(8, 2)
    array = feed({"x": x}, mesh)["x"]
    np.testing.assert_array_equal(np.asarray(array), x)
    assert {shard.data.shape for shard in array.addressable_shards} == {(1, 2)}


FULL = {
    "semantic_generator": SemanticGeneratorStage(generator=SemanticGeneratorConfig()),
    "acoustic_generator": AcousticGeneratorStage(generator=AcousticGeneratorConfig()),
}


@pytest.mark.parametrize("name", FULL)
def test_full_size_parameters_lie_where_they_used_to(name):
    """After a change that is meant, write `specs_as_text` of the failing case to the golden file."""
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    layout = make_layout(FULL[name], {name: mini.optimizer()}, mesh)
    specs = specs_as_text(layout.trainable_shardings[name])
    assert specs == json.loads((GOLDEN / f"{name}.json").read_text())


def lowered(active: bool) -> jax.stages.Lowered:
    """A training step, lowered from shapes inside or outside of `activate`."""
    stage, optimizers = mini.stage_and_optimizers("pretrain")
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    layout = make_layout(stage, optimizers, mesh)
    maker = StateMaker(layout, optimizers, mesh, ema=False)
    step = make_train_step(stage, optimizers, maker.shardings)
    rows = batch_sharding(mesh)
    batch = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows) for name, x in mini.batch_for("pretrain").items()
    }
    arguments = (maker.target(), layout.frozen, batch, jax.eval_shape(lambda: jax.random.key(0)))
    if not active:
        return step.lower(*arguments)
    with activate(mesh):
        return step.lower(*arguments)


def test_the_lowered_step_holds_its_sharding_constraints():
    # Two of every block, forward, and their transposes: Flax drops all of them if mesh or rules are not entered.
    assert lowered(active=True).as_text().count("sharding_constraint") >= 4
    assert lowered(active=False).as_text().count("sharding_constraint") == 0


@pytest.mark.slow
def test_weights_move_between_devices_and_activations_do_not():
    program = lowered(active=True).compile().as_text()
    assert " all-gather(" in program
    assert " all-to-all(" not in program and " collective-permute(" not in program

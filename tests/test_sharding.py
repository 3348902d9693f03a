"""The mesh and its rules: what lands where, and that constraints are really there."""

import dataclasses
import itertools
import json
import pathlib
import re

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh
from training import mini

from metis_jax.config import AcousticGeneratorConfig, SemanticGeneratorConfig
from metis_jax.sharding import (
    RULES,
    MeshConfig,
    activate,
    batch_parts,
    batch_sharding,
    feed,
    make_mesh,
    own_blocks,
    parameter_spec,
    specs_as_text,
)
from metis_jax.training.state import StateMaker, make_layout
from metis_jax.training.steps import make_train_step
from metis_jax.training.trainers.acoustic_generator import AcousticGeneratorTrainer
from metis_jax.training.trainers.semantic_generator import SemanticGeneratorTrainer
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


@pytest.mark.parametrize(("sizes", "parts"), [((8, 1, 1), 8), ((2, 2, 2), 4), ((1, 1, 8), 1)])
def test_a_batch_is_split_over_data_and_fsdp(sizes, parts):
    assert batch_parts(make_mesh(MeshConfig(**dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))))) == parts


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


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a device knows of the process that asks."""

    here: int = 0

    def process_index(self) -> int:
        return self.here


@dataclasses.dataclass(frozen=True)
class FakeDevice:
    """As much of a device as laying out a mesh asks for."""

    id: int
    process_index: int = 0
    client: Machine = Machine()
    platform: str = "cpu"
    device_kind: str = "fake"
    coords: tuple[int, ...] = ()
    core_on_chip: int = 0
    slice_index: int = 0


def slices(kind: str, dims: tuple[int, int, int], count: int = 1) -> list[FakeDevice]:
    """The devices of TPU slices with `dims` chips."""
    places = itertools.product(range(count), *(range(size) for size in reversed(dims)))
    return [
        FakeDevice(index, platform="tpu", device_kind=kind, coords=tuple(reversed(place)), slice_index=which)
        for index, (which, *place) in enumerate(places)
    ]


@pytest.mark.parametrize(
    ("kind", "dims", "sizes"),
    [
        ("TPU v5", (4, 4, 4), (1, 64, 1)),
        ("TPU v5", (4, 4, 4), (2, 32, 1)),
        ("TPU v5", (4, 4, 4), (1, 32, 2)),
        ("TPU v5", (4, 4, 4), (8, 8, 1)),
        ("TPU v6 lite", (16, 16, 1), (4, 64, 1)),
        ("TPU v6 lite", (16, 16, 1), (1, 64, 4)),
        ("TPU v6 lite", (16, 16, 1), (32, 8, 1)),
        ("TPU v5 lite", (4, 4, 1), (2, 4, 2)),
    ],
)
def test_a_slice_takes_meshes_that_split_its_axes(kind, dims, sizes):
    devices = slices(kind, dims)
    mesh = make_mesh(MeshConfig(data=sizes[0], fsdp=sizes[1], tensor=sizes[2]), devices)
    assert mesh.devices.shape == sizes and set(mesh.devices.flat) == set(devices)
    assert set(mesh.axis_types) == {AxisType.Auto}


def test_slices_are_joined_along_data():
    mesh = make_mesh(MeshConfig(data=4, fsdp=8), slices("TPU v5 lite", (4, 4, 1), count=2))
    found = [{device.slice_index for device in row.flat} for row in mesh.devices]
    assert found == [{0}, {0}, {1}, {1}]
    with pytest.raises(ValueError, match=r"\(1, 32, 1\) on 2 TPU slices.*config.mesh.data that is a multiple of 2"):
        make_mesh(MeshConfig(data=1, fsdp=32), slices("TPU v5 lite", (4, 4, 1), count=2))


def test_a_mesh_that_a_slice_does_not_take_is_refused_with_advice():
    with_holes = slices("TPU v5 lite", (4, 4, 1))[:14]
    with pytest.raises(
        ValueError, match=r"\(2, 7, 1\) can not be laid out .* 14 TPU v5 lite devices; take whole slices"
    ):
        make_mesh(MeshConfig(data=2, fsdp=7), with_holes)


def test_a_process_feeds_the_rows_that_its_devices_hold():
    def blocks(here: int, sizes: tuple[int, int, int], order=None) -> tuple[tuple[int, ...], int]:
        devices = [FakeDevice(index, process_index=index // 2, client=Machine(here)) for index in range(4)]
        places = np.array([devices[index] for index in order or range(4)]).reshape(sizes)
        return own_blocks(Mesh(places, ("data", "fsdp", "tensor")))

    assert [blocks(here, (4, 1, 1)) for here in (0, 1)] == [((0, 1), 4), ((2, 3), 4)]
    assert [blocks(here, (2, 2, 1)) for here in (0, 1)] == [((0, 1), 4), ((2, 3), 4)]
    assert [blocks(here, (2, 1, 2)) for here in (0, 1)] == [((0,), 2), ((1,), 2)]
    # `tensor` spans the processes: both hold the same rows.
    assert [blocks(here, (1, 1, 4)) for here in (0, 1)] == [((0,), 1)] * 2
    assert [blocks(here, (2, 1, 2), order=(0, 2, 1, 3)) for here in (0, 1)] == [((0, 1), 2)] * 2
    # Devices in another order than processes.
    assert [blocks(here, (4, 1, 1), order=(2, 0, 3, 1)) for here in (0, 1)] == [((1, 3), 4), ((0, 2), 4)]


FULL = {
    "semantic_generator": SemanticGeneratorTrainer(generator=SemanticGeneratorConfig()),
    "acoustic_generator": AcousticGeneratorTrainer(generator=AcousticGeneratorConfig()),
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
    trainer, optimizers = mini.trainer_and_optimizers("pretrain")
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    layout = make_layout(trainer, optimizers, mesh)
    maker = StateMaker(layout, optimizers, mesh, ema=False)
    step = make_train_step(trainer, optimizers, maker.shardings)
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


def test_gradients_are_summed_into_the_parts_that_devices_store():
    # A block uses its kernels whole along `fsdp`: parts of them are gradients alone, of five projections and of two.
    parts = re.findall(r"sharding_constraint .* <@mesh, \[(.*)\]>", lowered(active=True).as_text())
    assert parts.count('{"fsdp"}, {"tensor"}') == 5 and parts.count('{"tensor"}, {"fsdp"}') >= 2


@pytest.mark.slow
def test_weights_move_between_devices_and_activations_do_not():
    program = lowered(active=True).compile().as_text()
    assert " all-gather(" in program
    assert " all-to-all(" not in program
    # Parts of gradients may move to where they are stored; what has frames may not.
    moved = re.findall(r"\[([\d,]*)\]\S* collective-permute\(", program)
    assert all(str(mini.T) not in shape.split(",") for shape in moved)

"""The real step, compiled for devices: here the eight of a test, on a pod those of its slice."""

import dataclasses

import jax
import pytest

from configs import pretrain
from metis_jax.scaling.plan import Plan, advice, lines, meshes
from metis_jax.scaling.program import compile_step
from metis_jax.scaling.sweep import parse_sizes, plan_runs
from metis_jax.scaling.topologies import CHIPS, devices_of, parse
from metis_jax.sharding import MeshConfig
from metis_jax.training.experiment import read_config


@pytest.fixture(scope="module")
def config():
    return read_config(pretrain.get_config("tiny").to_dict())


@pytest.fixture(scope="module")
def compiled(config):
    return compile_step(config, jax.devices(), MeshConfig(data=2, fsdp=4), 200)


def test_the_step_is_that_of_the_run(config, compiled):
    trained, frozen = compiled.parameters
    assert frozen == 0 and compiled.frames == config.tokens_per_device * 8
    # Weights and both moments in float32, a quarter of most of them on a device; small ones are whole.
    assert 12 * trained / 4 < compiled.state < 12 * trained
    assert compiled.temporary > 0 and compiled.program.traffic > compiled.state
    assert {"all-gather", "all-reduce"} <= {one.kind for one in compiled.program.collectives}


def test_a_plan_says_whether_it_fits_and_what_would(config, compiled):
    plan = Plan(MeshConfig(data=2, fsdp=4), 8, CHIPS["v5e"], compiled)
    text = "\n".join(lines(plan, config, hours_of_audio=1000.0))
    assert plan.fits and ": fits" in text and "mesh data=2 fsdp=4 tensor=1: 8 devices" in text
    assert 0 < plan.mfu <= 1 and plan.step_seconds == max(plan.seconds.values())
    small = dataclasses.replace(plan, chip=dataclasses.replace(plan.chip, memory=plan.memory - 1))
    assert not small.fits and "DOES NOT FIT" in "\n".join(lines(small, config, 0.0))
    heavy = dataclasses.replace(plan, compiled=dataclasses.replace(compiled, state=compiled.temporary + 1))
    assert "config.mesh.fsdp" in advice(heavy) and "tokens_per_device" in advice(plan)


def test_meshes_use_every_device():
    found = list(meshes(256))
    assert MeshConfig(data=1, fsdp=256, tensor=1) in found and MeshConfig(data=16, fsdp=16, tensor=1) in found
    assert all(mesh.data * mesh.fsdp * mesh.tensor == 256 for mesh in found)


@pytest.mark.parametrize(
    ("name", "found"),
    [("v5e:16x16", (1, "v5e", "16x16")), ("2xv5p:4x4x4", (2, "v5p", "4x4x4")), ("v6e:1x1", (1, "v6e", "1x1"))],
)
def test_names_of_topologies(name, found):
    assert parse(name) == found


@pytest.mark.parametrize("name", ["v5e", "v5e-256", "v9x:2x2", "1xv5e:2x2", "v5e:2x2x2x2", ""])
def test_what_is_no_topology_is_refused(name):
    with pytest.raises(ValueError, match=r"is not known; give CHIP:AxB"):
        parse(name)


def test_slices_that_do_not_exist_are_refused():
    pytest.importorskip("libtpu")
    with pytest.raises(ValueError, match="no slice of v5e has this shape"):
        devices_of("v5e:3x5")


def test_a_sweep_has_the_steps_that_its_budget_allows():
    runs = plan_runs(pretrain.get_config("tiny"), parse_sizes("64x2,128x2"), (1e12, 4e12))
    assert [run.name for run in runs] == ["64x2_1e+12", "64x2_4e+12", "128x2_1e+12", "128x2_4e+12"]
    for run, budget in zip(runs, (1e12, 4e12) * 2, strict=True):
        assert run.flops == pytest.approx(budget, rel=0.1) and f"steps={run.steps}" in run.overrides
    assert runs[0].steps > runs[2].steps and runs[0].parameters < runs[2].parameters
    [narrow, wide] = plan_runs(pretrain.get_config("tiny"), parse_sizes("64x2,128x2"), (1e12,), rate_width=64)
    for run, share in ((narrow, 1.0), (wide, 0.5)):
        assert f"optimizers.semantic_generator.matrix_rate={share}" in run.overrides
    assert runs[1].tokens == pytest.approx(4 * runs[0].tokens, rel=0.05)


@pytest.mark.parametrize("sizes", ["64", "64x", "64x2,", "ax2"])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises(ValueError, match="give WIDTHxLAYERS"):
        parse_sizes(sizes)

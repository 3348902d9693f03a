"""The real step, compiled for devices: here the eight of a test, on a pod those of its slice."""

import dataclasses
import importlib.metadata
import math
import re
import sys
import types

import jax
import pytest
from jax.experimental import topologies

from configs import pretrain
from metis_jax.scaling.hlo import arrays_of
from metis_jax.scaling.plan import Plan, check_fits, lines, meshes, misfit
from metis_jax.scaling.program import DoesNotFit, compile_step, refusal
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
    check_fits(plan, config)
    small = dataclasses.replace(plan, chip=dataclasses.replace(plan.chip, memory=plan.memory - 1))
    assert not small.fits and "DOES NOT FIT" in "\n".join(lines(small, config, 0.0))
    with pytest.raises(ValueError, match=r"mesh \(data, fsdp, tensor\) = \(2, 4, 1\): a step needs .* GiB a device"):
        check_fits(small, config)


@pytest.mark.parametrize(
    ("state", "needed", "said"),
    [
        (
            1,
            31,
            r"needs 31.0 of 16 GiB a device, 1.0 of it for its state; lower .* from 1600 to 800 or less, or set",
        ),
        (1, math.inf, r"needs over 16.0 of 16 GiB .* from 1600 to 1 or less"),
        (15, 20, r"split parameters over more devices, config.mesh.fsdp=4 or more"),
        (60, 90, r"take 16 devices or more, and split parameters over all of them"),
    ],
)
def test_what_would_fit(config, state, needed, said):
    """Eight devices of 16 GiB, two of which share the parameters."""
    model = {**config.model, "policy": {"remat": "dots"}}
    config = dataclasses.replace(config, model=model)
    mesh = MeshConfig(data=4, fsdp=2)
    assert re.search(said, misfit(mesh, CHIPS["v5e"], config, state * 2**30, needed * 2**30))


def test_a_state_that_does_not_fit_is_not_compiled_for(config):
    with pytest.raises(DoesNotFit) as found:
        compile_step(config, jax.devices(), MeshConfig(), 200, memory=1)
    assert found.value.state > 1 and found.value.needed == math.inf


@pytest.mark.parametrize(
    ("said", "needed"),
    [
        ("Ran out of memory on HBM, the total memory for HLO temporaries (2.5G) exceeds available HBM (1.75G).", 3.5),
        ("Ran out of memory in memory space hbm. Used 25.11G of 15.75G hbm. Exceeded hbm capacity.", 25.11),
        ("No.", math.inf),
    ],
)
def test_compilers_say_what_a_step_needs(said, needed):
    found = refusal(f"RESOURCE_EXHAUSTED: {said}", "TPU v5 lite", 2**30)
    assert isinstance(found, DoesNotFit) and found.needed == pytest.approx(needed * 2**30)


def test_other_errors_of_compilers_are_one_line():
    found = refusal("INTERNAL: Trouble.\nMuch of it.", "TPU v5 lite", 1)
    assert str(found) == "the compiler for TPU v5 lite failed: INTERNAL: Trouble."


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


@pytest.mark.parametrize("name", ["h100:8", "2xh100:8x8", "h100:2x2x2", "h100:0x8"])
def test_gpus_have_hosts(name):
    with pytest.raises(ValueError, match="is not known; give CHIP:AxB|give h100:HOSTSxGPUS, as h100:8x8"):
        parse(name)


def test_compilers_that_are_missing_are_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    with pytest.raises(ValueError, match=r'not there \(libtpu\); pip install "metis_jax\[tpu\]"'):
        devices_of("v5e:2x2")
    monkeypatch.setattr(topologies, "get_topology_desc", missing)
    with pytest.raises(ValueError, match=r"pip install --no-deps jax-cuda13-plugin==\S+ jax-cuda13-pjrt=="):
        devices_of("h100:1x8")


def missing(**_):
    raise NotImplementedError("topology not implemented for cuda")


def test_a_compiler_of_another_version_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", types.SimpleNamespace(__spec__=object()))
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["numpy", 'libtpu==0.0.42.*; extra == "tpu"'])
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.0.52")
    with pytest.raises(ValueError, match=r'is libtpu 0.0.52, .* goes with 0.0.42; pip install "libtpu==0.0.42.\*"'):
        devices_of("v5e:2x2")


@pytest.mark.extra("tpu", "libtpu")
def test_slices_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="no slice of v5e has this shape"):
        devices_of("v5e:3x5")


@pytest.mark.slow
@pytest.mark.extra("tpu", "libtpu")
def test_the_step_of_a_slice(config):
    """Layers exchange weights and parts of gradients, nothing that has frames, and attend by the kernel."""
    compiled = compile_step(config, devices_of("v5e:4x4"), MeshConfig(data=4, fsdp=4), 200)
    generator = config.model["generator"]
    layers, width, kernels = generator["num_layers"], generator["width"], 9  # a block's projections and norms
    assert compiled.program.kernels == {"tpu_custom_call": 3 * layers}  # forward, and two backward
    exchanged = [(one, shapes(one.type)) for one in compiled.program.collectives]
    assert not any(200 in shape for _, found in exchanged for shape in found)
    cut = sum(one.times * len(found) for one, found in exchanged if one.kind == "reduce-scatter")
    assert cut >= kernels * layers
    summed = [shape for one, found in exchanged if one.kind == "all-reduce" and one.times == layers for shape in found]
    assert summed and all(len(shape) == 1 or width // 4 in shape for shape in summed)


@pytest.mark.slow
@pytest.mark.extra("cuda", "jax_cuda13_plugin")
def test_the_step_of_two_hosts_of_gpus(config):
    """Weights move within a host, each of which keeps all of them in parts; only sums of parts go over the network."""
    compiled = compile_step(config, devices_of("h100:2x4"), MeshConfig(data=2, fsdp=4), 200)
    exchanged = compiled.program.collectives
    assert not any(200 in shape for one in exchanged for shape in shapes(one.type))
    assert {one.kind for one in exchanged if not one.networked} == {"all-gather", "reduce-scatter", "all-reduce"}
    assert {one.kind for one in exchanged if one.networked} == {"all-reduce"}


def shapes(type_):
    """The dimensions of the arrays in a type."""
    return [tuple(map(int, re.findall(r"\d+", array.partition("[")[2]))) for array in arrays_of(type_)]


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

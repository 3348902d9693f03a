"""What the engine does when it loads; what it computes is tested through `Metis`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mini_chain import COMPONENTS, variables_of

from metis_jax.bundle import Bundle, TaskAdapterConfig, write_bundle
from metis_jax.config import LoraConfig
from metis_jax.engine import Engine
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.ops.lengths import full_lengths
from metis_jax.types import Policy

BASE = dataclasses.replace(COMPONENTS["semantic_generator"], condition="none", num_layers=2)
ADAPTER = TaskAdapterConfig(base="base", lora=LoraConfig(rank=4, alpha=8.0), condition_width=64)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "bundle"
    with write_bundle(path, license="none", provenance="random weights") as writer:
        writer.add("base", BASE, variables_of(BASE))
        writer.add("adapter", ADAPTER, variables_of(ADAPTER, BASE))
        writer.task("se", "base", "adapter")
    return Bundle(path)


def hidden(model, variables):
    draw = np.random.default_rng(0)
    tokens = jnp.asarray(draw.integers(0, BASE.codebook_size, (1, 9)).astype(np.int32))
    condition = jnp.asarray(draw.normal(size=(1, 9, 64)).astype(np.float32))
    given = {"lengths": full_lengths(1, 9), "condition": condition}
    call = jax.jit(lambda variables: model.apply(variables, tokens, tokens < 64, jnp.ones(1), **given))
    return np.asarray(call(variables).astype(jnp.float32))


def test_adapters_are_folded_in(bundle):
    engine = Engine(bundle, policy=Policy(), devices=jax.local_devices()[:1], rows=1)
    model, variables = engine._generator("se")
    assert model.lora is None
    generator = bundle.load_generator("se")
    apart = hidden(SemanticGenerator(generator.config, lora=generator.lora), generator.variables)
    np.testing.assert_allclose(hidden(model, variables), apart, rtol=1e-4, atol=1e-4)
    without = hidden(SemanticGenerator(generator.config), {"params": generator.variables["params"]})
    assert np.abs(without - apart).max() > 1e-2


def test_parameters_are_kept_in_the_compute_dtype(bundle):
    engine = Engine(bundle, policy=Policy(dtype="bfloat16"), devices=jax.local_devices()[:1], rows=1)
    model, variables = engine._generator("se")
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.bfloat16.dtype}
    exact = hidden(*Engine(bundle, policy=Policy(), devices=jax.local_devices()[:1], rows=1)._generator("se"))
    rounded = hidden(model, variables)
    assert np.linalg.norm(rounded - exact) < 0.05 * np.linalg.norm(exact)

"""What the engine does when it loads; what it computes is tested through `Metis`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mini_chain import COMPONENTS, variables_of

from metis_jax.clock import ssl_samples
from metis_jax.config import LoraConfig, VisualEncoderConfig
from metis_jax.inference.engine import Engine
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.models.visual_encoder import VisualEncoder, standardized
from metis_jax.ops.lengths import full_lengths
from metis_jax.training.trainers.semantic_generator import SemanticGeneratorTrainer
from metis_jax.types import Policy
from metis_jax.weights.bundle import Bundle, TaskAdapterConfig
from metis_jax.weights.bundle_writer import write_bundle
from metis_jax.weights.tensor_files import WeightsError

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


def test_a_generator_sees_in_decoding_what_it_saw_in_training(tmp_path):
    encoder, codec = (COMPONENTS[name] for name in ("ssl_encoder", "semantic_codec"))
    weights = {"ssl_encoder": variables_of(encoder), "semantic_codec": variables_of(codec)}
    with write_bundle(tmp_path / "bundle", license="none", provenance="random weights") as writer:
        for name, config in (("ssl_encoder", encoder), ("semantic_codec", codec)):
            writer.add(name, config, weights[name])
    engine = Engine(Bundle(tmp_path / "bundle"), policy=Policy(), devices=jax.local_devices()[:1], rows=1)
    wave = 0.1 * np.random.default_rng(1).normal(size=ssl_samples(25)).astype(np.float32)
    [features] = engine.ssl_features([wave])

    trainer = SemanticGeneratorTrainer(
        generator=COMPONENTS["semantic_generator"], ssl_encoder=encoder, semantic_codec=codec
    )
    batch = {"source": wave[None], "target": wave[None], "lengths": np.array([25], np.int32)}
    batch |= {name: np.array([len(wave)], np.int32) for name in ("source_lengths", "target_lengths")}
    batch["target_starts"] = np.zeros(1, np.int32)
    weights = {name: engine._component(name)[1] for name in weights}
    tokens, seen = jax.jit(trainer.targets)(weights, {name: jnp.asarray(x) for name, x in batch.items()})
    np.testing.assert_allclose(seen[0], features, atol=1e-3)
    np.testing.assert_array_equal(tokens[0], engine.semantic_tokens([features])[0])


@pytest.mark.slow
def test_mouth_crops_become_lip_features(tmp_path):
    sight = VisualEncoderConfig(crop=16, width=64, num_layers=1, num_heads=4, mlp_width=32, conv_width=5)
    speaking = dataclasses.replace(BASE, condition="plain", condition_width=64)
    with write_bundle(tmp_path / "bundle", license="none", provenance="random weights") as writer:
        for name in ("ssl_encoder", "semantic_codec", "acoustic_codec"):
            writer.add(name, COMPONENTS[name], variables_of(COMPONENTS[name]))
        for name in ("acoustic_generator_first", "acoustic_generator_full"):
            writer.add(name, COMPONENTS[name], variables_of(COMPONENTS[name]))
        writer.add("visual_encoder", sight, variables_of(sight))
        writer.add("base", speaking, variables_of(speaking))
        writer.task("l2s", "base")
    engine = Engine(Bundle(tmp_path / "bundle"), policy=Policy(), devices=jax.local_devices()[:1], rows=2)
    crops = [np.random.default_rng(n).integers(0, 256, (n, 16, 16), np.uint8) for n in (9, 4)]
    variables = jax.tree.map(jnp.asarray, variables_of(sight))
    found = engine.visual_features(crops)
    video = standardized(jnp.asarray(crops[0][None]))
    alone = VisualEncoder(sight).apply(variables, video, full_lengths(1, 9), train=False)
    np.testing.assert_allclose(found[0], alone[0], atol=2e-4)
    assert found[1].shape == (4, 64)
    assert abs(float(standardized(jnp.full((1, 1, 1, 1), 107, jnp.uint8)).mean())) < 0.02


def test_without_a_visual_encoder_crops_are_refused(bundle):
    engine = Engine(bundle, policy=Policy(), devices=jax.local_devices()[:1], rows=1)
    with pytest.raises(WeightsError, match="has no visual encoder, so l2s takes lip features"):
        engine.require_sight()

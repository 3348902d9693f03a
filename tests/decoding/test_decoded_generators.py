"""Both stages against tokens that the authors' loops decoded, and the invariances of guided decoding."""

import dataclasses
import functools
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mini_chain import variables_of

from metis_jax.config import SIZES, AcousticGeneratorConfig, SemanticGeneratorConfig
from metis_jax.decoding import generators
from metis_jax.decoding.masked_decode import Decoder, Sampling, make_schedule
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.parity.decoding import decoded_acoustic, decoded_semantic

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = SIZES["tiny"]
OMNI = dataclasses.replace(TINY[SemanticGeneratorConfig], phone_vocabulary=1024, condition="gated", condition_width=32)
SMALL = dataclasses.replace(OMNI, width=32, num_layers=2, num_heads=2, mlp_width=64)


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def assert_equal_tokens(found, arrays):
    assert found and set(found) == {name for name in arrays if name.startswith("decoded")}
    for name, tokens in found.items():
        np.testing.assert_array_equal(tokens, arrays[name], err_msg=name)


def test_stage_one_decodes_the_golden_tokens():
    arrays = golden("tiny_stage1_omni")
    assert_equal_tokens(decoded_semantic(OMNI, variables_of(OMNI), arrays), arrays)


@pytest.mark.parametrize("name, num_levels", [("tiny_s2a_1layer", 1), ("tiny_s2a_full", 5)])
def test_stage_two_decodes_the_golden_tokens(name, num_levels):
    config = dataclasses.replace(TINY[AcousticGeneratorConfig], num_levels=num_levels)
    arrays = golden(name)
    assert_equal_tokens(decoded_acoustic(config, variables_of(config), arrays), arrays)


@functools.cache
def small():
    return SemanticGenerator(SMALL), {"params": variables_of(SMALL)["params"]}


def batch(t):
    """Three examples of different prompts, lengths and phones, in a bucket of `t` frames."""
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, SMALL.codebook_size, (3, 40, 1)).astype(np.int32)
    condition = draw.normal(size=(3, 40, 32)).astype(np.float32)
    phones = draw.integers(0, 1024, (3, 6)).astype(np.int32)
    pad = ((0, 0), (0, t - 40), (0, 0))
    inputs = generators.SemanticInputs(
        prompt_lengths=jnp.array([9, 0, 4]),
        lengths=jnp.array([40, 31, 17]),
        phones=jnp.asarray(phones),
        phone_lengths=jnp.array([6, 3, 5]),
        condition=jnp.asarray(np.pad(condition, pad, constant_values=7)),
    )
    return inputs, jnp.asarray(np.pad(tokens, pad)), jax.random.split(jax.random.key(1), 3)


def decode(inputs, tokens, keys, steps=6, guidance=2.0, run=generators.jitted_semantic_steps, progress=None):
    sampling = Sampling(jnp.float32(0.9), jnp.float32(1), jnp.float32(guidance))
    decoder = Decoder(make_schedule((steps,)), keys, sampling)
    return np.asarray(generators.run_stage(run, *small(), decoder, inputs, tokens, progress))[:, :, 0]


def test_guided_tokens_do_not_depend_on_batch_bucket_or_progress():
    inputs, tokens, keys = batch(40)
    together = decode(inputs, tokens, keys)
    wider = decode(*batch(48))
    heard = []
    in_parts = decode(inputs, tokens, keys, progress=heard.append)
    np.testing.assert_array_equal(in_parts, together)
    assert sum(heard) == 6
    one = slice(2, 3)
    alone = decode(jax.tree.map(lambda x: x[one], inputs), tokens[one], keys[one])
    for row, length in enumerate(inputs.lengths):
        np.testing.assert_array_equal(wider[row, :length], together[row, :length])
    np.testing.assert_array_equal(alone[0, :17], together[2, :17])
    np.testing.assert_array_equal(together[0, :9], tokens[0, :9, 0])
    assert not np.array_equal(decode(inputs, tokens, keys, guidance=0.5), together)


def test_a_row_without_a_condition_is_as_in_a_batch_without_conditions():
    inputs, tokens, keys = batch(40)
    mixed = decode(inputs.replace(has_condition=jnp.array([True, False, True])), tokens, keys)
    given, bare = (decode(one, tokens, keys) for one in (inputs, inputs.replace(condition=None)))
    for row, expected in enumerate((given, bare, given)):
        np.testing.assert_array_equal(mixed[row], expected[row])
    assert not np.array_equal(given[1, :31], bare[1, :31])


def test_twenty_lengths_and_settings_are_one_program():
    run = jax.jit(chex.assert_max_traces(generators.semantic_steps, n=1), static_argnums=0)
    inputs, tokens, keys = batch(40)
    for i in range(20):
        cut = inputs.replace(lengths=inputs.lengths - i % 13, phone_lengths=inputs.phone_lengths - i % 3)
        decode(cut, tokens, keys, steps=1 + i % 4, guidance=0.1 * i, run=run)
    assert run._cache_size() == 1

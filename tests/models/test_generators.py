"""Both generators: padding, prefixes, adapters, published sizes.  Parity with the release is in tests/convert."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.config import SIZES, AcousticGeneratorConfig, LoraConfig, SemanticGeneratorConfig
from metis_jax.layers.dense import split_lora
from metis_jax.models.acoustic_generator import AcousticGenerator
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.types import Policy

TINY = dataclasses.replace(SIZES["tiny"][SemanticGeneratorConfig], phone_vocabulary=20, condition="gated")
TINY_ACOUSTIC = SIZES["tiny"][AcousticGeneratorConfig]


def drawn(model, tokens):
    """Variables by numpy, without a program to compile; no leaf is where it would begin, as zeros hide mistakes."""
    draw = np.random.default_rng(1)

    def leaf(path, like):
        is_scale = [key.key for key in path][-2:] == ["scale", "bias"]
        return jnp.asarray(is_scale + 0.1 * draw.normal(size=like.shape), like.dtype)

    shapes = jax.eval_shape(lambda key: model.init(key, tokens, method="init_all"), jax.random.key(0))
    return jax.tree_util.tree_map_with_path(leaf, nn.unbox(shapes))


@functools.cache
def applied(model, method=None):
    """The jitted `apply`; tests that ask alike share what is compiled."""
    return jax.jit(functools.partial(model.apply, method=method))


def pad(x, t):
    return np.pad(np.asarray(x), [(0, 0), (0, t - x.shape[1])] + [(0, 0)] * (x.ndim - 2))


@pytest.fixture(scope="module", params=[False, True], ids=["counted", "spread"])
def semantic(request):
    model = SemanticGenerator(dataclasses.replace(TINY, spread_phones=request.param))
    return model, drawn(model, jnp.zeros((1, 4), jnp.int32))


def semantic_inputs(seed, t, p):
    draw = np.random.default_rng(seed)
    return {
        "tokens": draw.integers(0, TINY.codebook_size, (1, t)).astype(np.int32),
        "is_masked": draw.random((1, t)) < 0.5,
        "phones": draw.integers(0, 20, (1, p)).astype(np.int32),
        "condition": draw.normal(size=(1, t, TINY.condition_width)).astype(np.float32),
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_semantic_padding_and_neighbours_change_nothing(semantic, seed):
    model, variables = semantic
    forward = applied(model)
    shapes = [(9, 4), (14, 7), (5, 0)]
    rows = [semantic_inputs(10 * seed + i, t, p) for i, (t, p) in enumerate(shapes)]
    time = jnp.array([0.2, 0.7, 1.0])
    frames, phones = jnp.array([9, 14, 5], jnp.int32), jnp.array([4, 7, 0], jnp.int32)
    batch = {
        name: jnp.asarray(np.concatenate([pad(row[name], 10 if name == "phones" else 17) for row in rows]))
        for name in rows[0]
    }
    together = forward(
        variables,
        batch["tokens"],
        batch["is_masked"],
        time,
        lengths=frames,
        phones=batch["phones"],
        phone_lengths=phones,
        condition=batch["condition"],
    )
    for i, (t, p) in enumerate(shapes):
        row = {name: jnp.asarray(value) for name, value in rows[i].items()}
        prefix = {} if p == 0 else {"phones": row["phones"]}
        alone = forward(
            variables,
            row["tokens"],
            row["is_masked"],
            time[i : i + 1],
            lengths=jnp.array([t], jnp.int32),
            condition=row["condition"],
            **prefix,
        )
        np.testing.assert_allclose(together[i, :t], alone[0], atol=3e-5)


def test_masked_tokens_are_invisible(semantic):
    model, variables = semantic
    inputs = {name: jnp.asarray(value) for name, value in semantic_inputs(3, 8, 2).items()}
    is_masked = jnp.arange(8)[None, :] >= 4

    def hidden(tokens):
        return applied(model)(variables, tokens, is_masked, jnp.ones((1,)), lengths=jnp.array([8], jnp.int32))

    changed = jnp.where(is_masked, 0, inputs["tokens"])
    np.testing.assert_array_equal(hidden(inputs["tokens"]), hidden(changed))
    assert not np.array_equal(hidden(inputs["tokens"]), hidden(jnp.zeros_like(changed)))


def test_spread_phones_stand_where_they_are_spoken():
    """As given positions: each phone at the middle of its even share of the row's own frames."""
    model = SemanticGenerator(dataclasses.replace(TINY, spread_phones=True))
    inputs = {name: jnp.asarray(value) for name, value in semantic_inputs(5, 12, 3).items()}
    variables = drawn(model, jnp.zeros((1, 4), jnp.int32))
    row = (inputs["tokens"], inputs["is_masked"], jnp.ones((1,)))
    given = {"lengths": jnp.array([12], jnp.int32), "phones": inputs["phones"]}
    positions = jnp.concatenate([jnp.array([1.5, 5.5, 9.5]), jnp.arange(12.0)])[None, :]
    run, counted = applied(model), applied(SemanticGenerator(TINY))
    spread = run(variables, *row, **given)
    np.testing.assert_allclose(spread, counted(variables, *row, **given, positions=positions), atol=1e-6)
    assert not np.allclose(spread, counted(variables, *row, **given), atol=1e-3)
    known = jnp.array([[0.5, 3.5, 9.0]])
    positions = jnp.concatenate([known[0], jnp.arange(12.0)])[None, :]
    aligned = run(variables, *row, **given, phone_positions=known)
    np.testing.assert_allclose(aligned, counted(variables, *row, **given, positions=positions), atol=1e-6)
    unknown = run(variables, *row, **given, phone_positions=jnp.full((1, 3), -1.0))
    np.testing.assert_array_equal(unknown, spread)


def test_wrong_conditions_are_refused():
    model = SemanticGenerator(SIZES["tiny"][SemanticGeneratorConfig])
    tokens = jnp.zeros((1, 4), jnp.int32)
    call = (tokens, jnp.ones((1, 4), bool), jnp.ones((1,)))
    for extra, message in [
        ({"phones": tokens}, "without a phone embedding"),
        ({"condition": jnp.zeros((1, 4, 64))}, "without an adapter"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.init(jax.random.key(0), *call, lengths=jnp.array([4], jnp.int32), **extra)


def test_bfloat16_stays_close(semantic):
    model, variables = semantic
    inputs = {name: jnp.asarray(value) for name, value in semantic_inputs(4, 8, 3).items()}

    def logits(model):
        def run(module):
            hidden = module(
                inputs["tokens"],
                inputs["is_masked"],
                jnp.ones((1,)),
                lengths=jnp.array([8], jnp.int32),
                phones=inputs["phones"],
                condition=inputs["condition"],
            )
            return module.logits(hidden)

        return jax.jit(functools.partial(model.apply, method=run))(variables)

    exact = logits(model)
    rounded = logits(SemanticGenerator(model.config, Policy(dtype="bfloat16")))
    assert rounded.dtype == jnp.float32
    assert np.linalg.norm(rounded - exact) < 0.05 * np.linalg.norm(exact)
    assert not np.array_equal(rounded, exact)


def test_acoustic_padding_and_neighbours_change_nothing():
    model = AcousticGenerator(TINY_ACOUSTIC)
    variables = drawn(model, jnp.zeros((1, 4, TINY_ACOUSTIC.num_levels), jnp.int32))
    draw = np.random.default_rng(0)
    levels = jnp.array([0, 3], jnp.int32)
    lengths = [7, 12]
    rows = [
        (
            draw.integers(0, 128, (1, t)).astype(np.int32),
            draw.integers(0, 64, (1, t, TINY_ACOUSTIC.num_levels)).astype(np.int32),
            draw.random((1, t)) < 0.5,
            np.arange(t)[None, :] < 3,
        )
        for t in lengths
    ]
    time = jnp.array([0.4, 0.9])

    def hidden(semantic, tokens, masked, prompt, level, time, lengths):
        return applied(model)(variables, semantic, tokens, level, masked, prompt, time, lengths=lengths)

    batch = [jnp.asarray(np.concatenate([pad(row[i], 15) for row in rows])) for i in range(4)]
    together = hidden(*batch, levels, time, jnp.array(lengths, jnp.int32))
    for i, t in enumerate(lengths):
        row = [jnp.asarray(x) for x in rows[i]]
        alone = hidden(*row, levels[i : i + 1], time[i : i + 1], jnp.array([t], jnp.int32))
        np.testing.assert_allclose(together[i, :t], alone[0], atol=3e-5)


def test_acoustic_sees_what_it_may_see():
    """Levels below are seen everywhere, the level itself where unmasked, levels above in the prompt alone."""
    model = AcousticGenerator(TINY_ACOUSTIC)
    q = TINY_ACOUSTIC.num_levels
    variables = drawn(model, jnp.zeros((1, 4, q), jnp.int32))
    is_prompt = jnp.arange(6)[None, :] < 2
    is_masked = jnp.arange(6)[None, :] >= 4
    level = jnp.array([2], jnp.int32)

    def embedded(tokens):
        return applied(model, "embed_tokens")(variables, tokens, level, is_masked, is_prompt)

    base = embedded(jnp.zeros((1, 6, q), jnp.int32))
    for frame in range(6):
        for changed in range(q):
            tokens = jnp.zeros((1, 6, q), jnp.int32).at[0, frame, changed].set(1)
            visible = changed < 2 or frame < 2 or (changed == 2 and frame < 4)
            assert np.array_equal(embedded(tokens), base) != visible


def count(model, tokens):
    shapes = jax.eval_shape(lambda key: model.init(key, tokens, method="init_all"), jax.random.key(0))
    return nn.unbox(shapes)["params"]


def size(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 725_944_832),
        ({"condition": "gated"}, 741_681_153),
        ({"condition": "plain", "condition_width": 768}, 740_108_288),
        ({"phone_vocabulary": 1024}, 746_399_744),
        ({"phone_vocabulary": 1024, "condition": "gated"}, 762_136_065),
    ],
)
def test_semantic_parameter_counts(fields, expected):
    assert size(count(SemanticGenerator(SemanticGeneratorConfig(**fields)), jnp.zeros((1, 8), jnp.int32))) == expected


@pytest.mark.parametrize(("levels", "expected"), [(1, 330_348_544), (12, 353_439_744)])
def test_acoustic_parameter_counts(levels, expected):
    model = AcousticGenerator(AcousticGeneratorConfig(num_levels=levels))
    assert size(count(model, jnp.zeros((1, 8, levels), jnp.int32))) == expected


@pytest.mark.parametrize(("rank", "expected"), [(32, 18_087_936), (16, 9_043_968)])
def test_lora_parameter_counts(rank, expected):
    model = SemanticGenerator(SemanticGeneratorConfig(condition="gated"), lora=LoraConfig(rank=rank, alpha=2.0 * rank))
    params = count(model, jnp.zeros((1, 8), jnp.int32))
    _, lora = split_lora(params)
    assert size(lora) == expected
    assert size(params["condition_adapter"]) == 15_736_321

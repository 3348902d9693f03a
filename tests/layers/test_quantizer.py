"""Factorized and residual quantizers: round trips, masks, dropout of levels, gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.layers.quantizer import FactorizedQuantizer, ResidualQuantizer, draw_levels

LEVELS = 5


@pytest.fixture(scope="module")
def residual():
    model = ResidualQuantizer(features=12, num_levels=LEVELS, codebook_size=16, code_width=4, dropout=0.5)
    x = jax.random.normal(jax.random.key(1), (3, 20, 12))
    lengths = jnp.array([20, 13, 5], jnp.int32)
    init = jax.jit(lambda: nn.unbox(model.init(jax.random.key(0), x, lengths, deterministic=True)))
    return model, init(), x, lengths


@jax.jit
def quantize_one(variables, x, lengths):
    return FactorizedQuantizer(features=12, codebook_size=16, code_width=4).apply(variables, x, lengths)


@pytest.fixture(scope="module")
def embed(residual):
    """The jitted method: (codes, how many levels of them)."""
    model, variables, _, _ = residual
    return jax.jit(lambda codes, count=None: model.apply(variables, codes, count, method="embed"), static_argnums=1)


@pytest.fixture(scope="module")
def whole(residual):
    """What all levels make of the input."""
    model, variables, x, lengths = residual
    return jax.jit(lambda: model.apply(variables, x, lengths, deterministic=True))()


def test_levels_are_stacked_and_drawn_apart(residual):
    codebook = residual[1]["params"]["levels"]["codebook"]
    assert codebook.shape == (LEVELS, 16, 4)
    assert len(np.unique(codebook)) == codebook.size


def test_looking_up_a_code_and_quantizing_it_gives_the_code_back():
    # Orthonormal projections of equal widths, so that what is looked up is projected back to itself.
    model = FactorizedQuantizer(features=4, codebook_size=16, code_width=4)
    lengths = jnp.array([16], jnp.int32)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0].astype(np.float32)
    params = {"codebook": np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)}
    for name, direction in (("project_out", rotation), ("project_in", rotation.T)):
        params[name] = {"direction": direction[None], "gain": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}
    params = jax.tree.map(jnp.asarray, params)
    codes = jnp.arange(16)[None]

    @jax.jit
    def again(params):
        found = model.apply({"params": params}, codes, method="embed")
        return model.apply({"params": params}, found, lengths).codes

    np.testing.assert_array_equal(again(params)[:, :, 0], codes)


def test_the_quantized_sum_is_the_embedding_of_the_codes(whole, embed):
    assert whole.codes.shape == (3, 20, LEVELS)
    np.testing.assert_allclose(whole.quantized, embed(whole.codes), atol=1e-5)
    np.testing.assert_allclose(embed(whole.codes, 2), embed(whole.codes[:, :, :2]), atol=1e-6)
    single = [embed(jnp.roll(whole.codes, -i, axis=2), 1) for i in range(2)]
    assert not np.allclose(embed(whole.codes, 2), sum(single)), "levels must not share a codebook"


@pytest.mark.parametrize("count", [0, LEVELS + 1])
def test_a_wrong_number_of_levels_is_refused(residual, count):
    model, variables, _, _ = residual
    with pytest.raises(ValueError, match=f"num_levels is {count}"):
        model.apply(variables, jnp.zeros((1, 2, LEVELS), jnp.int32), count, method="embed")


def test_each_level_codes_the_rest_of_the_ones_before(residual, whole, embed):
    _, variables, x, lengths = residual
    for level in (1, LEVELS - 1):
        rest = x - embed(whole.codes, level)
        one = jax.tree.map(lambda leaf, level=level: leaf[level], variables["params"]["levels"])
        again = quantize_one({"params": one}, rest, lengths)
        np.testing.assert_array_equal(again.codes[:, :, 0], whole.codes[:, :, level])


def test_losses_ignore_padding_and_unused_levels(residual, whole, embed):
    model, variables, x, lengths = residual
    run = jax.jit(lambda x: model.apply(variables, x, lengths, deterministic=False, rngs={"codebook_dropout": key}))
    key = jax.random.key(3)
    first, second = run(x), run(jnp.where(jnp.arange(20)[None, :, None] < lengths[:, None, None], x, 1e3))
    np.testing.assert_allclose(first.commitment_loss, second.commitment_loss, rtol=1e-6)
    np.testing.assert_allclose(first.codebook_loss, first.commitment_loss, rtol=1e-6)
    assert np.unique(first.num_levels).size > 1, "the key must drop some levels for this test to say anything"
    for row, count in enumerate(first.num_levels):
        alone = embed(first.codes[row : row + 1], int(count))
        np.testing.assert_allclose(first.quantized[row], alone[0], atol=1e-5)
    is_whole = np.asarray(first.num_levels) == LEVELS
    more = np.asarray(whole.commitment_loss - first.commitment_loss)
    np.testing.assert_allclose(more[is_whole], 0, atol=1e-6)
    assert (more[~is_whole] > 1e-6).all()


def test_dropout_draws_half_of_the_rows_and_every_count_equally_often():
    rows = 20000
    counts = np.bincount(draw_levels(jax.random.key(0), rows, LEVELS, 0.5), minlength=LEVELS + 1)
    share = rows * 0.5 / LEVELS
    expected = np.array([0, *[share] * (LEVELS - 1), share + rows * 0.5])
    assert counts[0] == 0
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected) + 1).all()
    assert (draw_levels(jax.random.key(0), 100, LEVELS, 0.0) == LEVELS).all()


def test_losses_pull_the_input_and_the_code_apart(residual):
    _, variables, x, lengths = residual
    one = {"params": jax.tree.map(lambda leaf: leaf[0], variables["params"]["levels"])}
    gradients = jax.jit(jax.grad(lambda v, name: jnp.sum(getattr(quantize_one(v, x, lengths), name))), static_argnums=1)
    commitment, codebook = (gradients(one, name)["params"] for name in ("commitment_loss", "codebook_loss"))
    assert np.abs(commitment["project_in"]["direction"]).max() > 0 and np.abs(codebook["codebook"]).max() > 0
    assert np.abs(commitment["codebook"]).max() == 0 and np.abs(codebook["project_in"]["direction"]).max() == 0

"""Tables from codecs: they mean at step 0 what the quantizers mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.layers.quantizer import ResidualQuantizer
from metis_jax.training import code_vectors

LEVELS, CODES, WIDTH, LATENT, D = 3, 32, 4, 16, 48
DIRECTIONS = code_vectors._directions(LATENT, D, "acoustic")


@pytest.fixture(scope="module")
def quantizer():
    module = ResidualQuantizer(LATENT, LEVELS, CODES, WIDTH, dropout=0.0)
    x = jax.random.normal(jax.random.key(1), (1, 200, LATENT))
    variables = module.init(jax.random.key(0), x, jnp.array([200]), deterministic=True)
    return module, jax.tree.map(lambda leaf: leaf.unbox(), variables, is_leaf=lambda leaf: hasattr(leaf, "unbox")), x


@pytest.fixture(scope="module")
def codecs(quantizer):
    levels = quantizer[1]["params"]["levels"]
    acoustic = {"params/quantizer/levels/codebook": levels["codebook"]} | {
        f"params/quantizer/levels/{name}/{leaf}": levels[name][leaf]
        for name in ("project_in", "project_out")
        for leaf in ("direction", "gain", "bias")
    }
    semantic = {"params/quantizer/codebook": np.random.default_rng(2).normal(size=(CODES, WIDTH))}
    return {"semantic_codec": semantic, "acoustic_codec": {path: np.asarray(x) for path, x in acoustic.items()}}


def _sums(leaves, codes):
    return sum(leaves["params/token_tables"][level][codes[:, level]] for level in range(LEVELS))


def _latents(module, variables, codes):
    bias = np.asarray(variables["params"]["levels"]["project_out"]["bias"]).sum(axis=0)
    return np.asarray(module.apply(variables, jnp.asarray(codes)[None], method="embed"))[0] - bias


def test_embeddings_of_a_frame_sum_to_minus_its_quantized_latent(quantizer, codecs):
    module, variables, x = quantizer
    codes = np.asarray(module.apply(variables, x, jnp.array([200]), deterministic=True).codes)[0]
    leaves = code_vectors.acoustic_generator_leaves(codecs, LEVELS, D)
    total, latents = _sums(leaves, codes), _latents(module, variables, codes)
    # Equal up to one rotation and scale, so inner products are equal up to one factor.
    ours, theirs = total @ total.T, latents @ latents.T
    np.testing.assert_allclose(ours * (theirs[0, 0] / ours[0, 0]), theirs, atol=1e-3 * np.abs(theirs).max())
    assert np.sum(total * (latents @ DIRECTIONS)) < 0


def test_logits_of_a_latent_are_highest_at_its_own_code(quantizer, codecs):
    module, variables, x = quantizer
    leaves = code_vectors.acoustic_generator_leaves(codecs, LEVELS, D)
    codes = np.asarray(module.apply(variables, x, jnp.array([200]), deterministic=True).codes)[0]
    scores = np.asarray(x)[0] @ DIRECTIONS @ leaves["params/logits_kernel"][0]
    assert np.mean(np.argmax(scores, axis=-1) == codes[:, 0]) > 0.9


def test_near_codes_have_near_embeddings_and_logits(codecs):
    leaves = code_vectors.semantic_generator_leaves(codecs, D)
    table, kernel = leaves["params/token_embedding/table"], leaves["params/to_logits/kernel"]
    codes = codecs["semantic_codec"]["params/quantizer/codebook"]
    units = codes / np.linalg.norm(codes, axis=-1, keepdims=True)
    true, embedded, scored = (
        np.linalg.norm(x[:, None] - x[None], axis=-1)[np.triu_indices(CODES, 1)] for x in (units, table, kernel.T)
    )
    np.testing.assert_allclose(embedded / true, (embedded / true)[0], rtol=1e-4)
    np.testing.assert_allclose(scored / true, (scored / true)[0], rtol=1e-4)


def test_what_is_missing_is_named(codecs):
    with pytest.raises(ValueError, match="give config.code_vectors.acoustic_codec"):
        code_vectors.acoustic_generator_leaves({"semantic_codec": codecs["semantic_codec"]}, LEVELS, D)
    with pytest.raises(ValueError, match="width 4 do not fit into a generator of width 3"):
        code_vectors.semantic_generator_leaves(codecs, 3)

"""Tables from codecs: they mean at step 0 what the quantizers mean."""

import dataclasses
import functools

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.config import AcousticGeneratorConfig, SemanticGeneratorConfig
from metis_jax.layers.quantizer import FactorizedQuantizer, ResidualQuantizer
from metis_jax.models.adapters import ConditionAdapter
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.training.starts import code_vectors
from metis_jax.training.trainers.kmeans import clusters

LEVELS, CODES, WIDTH, LATENT, D = 3, 32, 4, 16, 48
ACOUSTIC = AcousticGeneratorConfig(width=D, num_heads=2, num_levels=LEVELS, codebook_size=CODES)
SEMANTIC = SemanticGeneratorConfig(width=D, num_heads=2, codebook_size=CODES)
DIRECTIONS = code_vectors._directions(LATENT, D, "acoustic")


@pytest.fixture(scope="module")
def quantizer():
    """The module, its variables, latents and their codes."""
    module, lengths = ResidualQuantizer(LATENT, LEVELS, CODES, WIDTH, dropout=0.0), jnp.array([200])
    x = jax.random.normal(jax.random.key(1), (1, 200, LATENT))

    @jax.jit
    def made():
        variables = nn.unbox(module.init(jax.random.key(0), x, lengths, deterministic=True))
        return variables, module.apply(variables, x, lengths, deterministic=True).codes[0]

    variables, codes = made()
    return module, variables, x, np.asarray(codes)


@pytest.fixture(scope="module")
def codecs(quantizer):
    levels = quantizer[1]["params"]["levels"]
    acoustic = {"params/quantizer/levels/codebook": levels["codebook"]} | {
        f"params/quantizer/levels/{name}/{leaf}": levels[name][leaf]
        for name in ("project_in", "project_out")
        for leaf in ("direction", "gain", "bias")
    }
    rng = np.random.default_rng(2)
    semantic = {
        "params/quantizer/codebook": rng.normal(size=(CODES, WIDTH)),
        "params/quantizer/project_in/direction": rng.normal(size=(1, 20, WIDTH)),
    }
    return {"semantic_codec": semantic, "acoustic_codec": {path: np.asarray(x) for path, x in acoustic.items()}}


def _sums(leaves, codes):
    return sum(leaves["params/token_tables"][level][codes[:, level]] for level in range(LEVELS))


def _latents(module, variables, codes):
    bias = np.asarray(variables["params"]["levels"]["project_out"]["bias"]).sum(axis=0)
    embed = jax.jit(functools.partial(module.apply, method="embed"))
    return np.asarray(embed(variables, jnp.asarray(codes)[None]))[0] - bias


def test_embeddings_of_a_frame_sum_to_minus_its_quantized_latent(quantizer, codecs):
    module, variables, _, codes = quantizer
    leaves = code_vectors.acoustic_generator_leaves(codecs, ACOUSTIC)
    total, latents = _sums(leaves, codes), _latents(module, variables, codes)
    # Equal up to one rotation and scale, so inner products are equal up to one factor.
    ours, theirs = total @ total.T, latents @ latents.T
    np.testing.assert_allclose(ours * (theirs[0, 0] / ours[0, 0]), theirs, atol=1e-3 * np.abs(theirs).max())
    assert np.sum(total * (latents @ DIRECTIONS)) < 0


def test_logits_of_a_latent_are_highest_at_its_own_code(quantizer, codecs):
    _, _, x, codes = quantizer
    leaves = code_vectors.acoustic_generator_leaves(codecs, ACOUSTIC)
    scores = np.asarray(x)[0] @ DIRECTIONS @ leaves["params/logits_kernel"][0]
    assert np.mean(np.argmax(scores, axis=-1) == codes[:, 0]) > 0.9


def test_near_codes_have_near_embeddings_and_logits(codecs):
    leaves = code_vectors.semantic_generator_leaves(codecs, SEMANTIC, sees_latents=False)
    table, kernel = leaves["params/token_embedding/table"], leaves["params/to_logits/kernel"]
    codes = codecs["semantic_codec"]["params/quantizer/codebook"]
    units = codes / np.linalg.norm(codes, axis=-1, keepdims=True)
    true, embedded, scored = (
        np.linalg.norm(x[:, None] - x[None], axis=-1)[np.triu_indices(CODES, 1)] for x in (units, table, kernel.T)
    )
    np.testing.assert_allclose(embedded / true, (embedded / true)[0], rtol=1e-4)
    np.testing.assert_allclose(scored / true, (scored / true)[0], rtol=1e-4)


@pytest.mark.parametrize("condition, rank", [("gated", 0), ("plain", 0), ("gated", 20)])
def test_an_adapter_embeds_features_as_their_token_is(condition, rank):
    features = np.random.default_rng(3).normal(size=(3000, 20)).astype(np.float32) * np.geomspace(3, 0.1, 20) + 1
    found = clusters(features, CODES, 12, seed=0)
    codec = {f"params/quantizer/{path}": leaf for path, leaf in found.items()}
    config = dataclasses.replace(SEMANTIC, condition=condition, condition_width=20, table_rank=rank)
    leaves = code_vectors.semantic_generator_leaves({"semantic_codec": codec}, config, sees_latents=True)
    table, kernel = leaves["params/token_embedding/table"], leaves["params/to_logits/kernel"]
    if rank:
        table = table @ leaves["params/token_embedding/projection/kernel"]
        kernel = leaves["params/to_codes/kernel"] @ kernel
    prefix = "params/condition_adapter/"
    adapter = {path.removeprefix(prefix): jnp.asarray(x) for path, x in leaves.items() if path.startswith(prefix)}
    params = {"params": flax.traverse_util.unflatten_dict(adapter, sep="/")}
    x, lengths = jnp.asarray(features)[None], jnp.array([len(features)])
    embedded = np.asarray(jax.jit(ConditionAdapter(D, condition == "gated").apply)(params, x)[0])
    quantizer = {"params": flax.traverse_util.unflatten_dict({k: jnp.asarray(x) for k, x in found.items()}, sep="/")}
    codes = np.asarray(jax.jit(FactorizedQuantizer(20, CODES, 12).apply)(quantizer, x, lengths).codes)[0, :, 0]
    nearest = np.argmin(np.linalg.norm(embedded[:, None] - table[None], axis=-1), axis=1)
    assert np.mean(nearest == codes) > 0.9
    # The generator's last norm takes the length of such a vector away; still it is scored highest at its code.
    hidden = embedded / np.sqrt(np.mean(np.square(embedded), axis=-1, keepdims=True))
    assert np.mean(np.argmax(hidden @ kernel, axis=-1) == codes) > 0.99


def test_what_has_learned_nothing_finds_the_token_of_its_condition():
    features = np.random.default_rng(4).normal(size=(400, 20)).astype(np.float32) * np.geomspace(3, 0.1, 20)
    found = clusters(features, CODES, 12, seed=0)
    codec = {f"params/quantizer/{path}": leaf for path, leaf in found.items()}
    config = dataclasses.replace(SEMANTIC, num_layers=2, mlp_width=64, condition="gated", condition_width=20)
    model = SemanticGenerator(config)
    nothing = jnp.zeros((1, len(features)), jnp.int32)
    drawn = jax.jit(lambda key: nn.unbox(model.init(key, nothing, method="init_all")))(jax.random.key(0))
    leaves = code_vectors.semantic_generator_leaves({"semantic_codec": codec}, config, sees_latents=True)
    flat = flax.traverse_util.flatten_dict(drawn, sep="/")
    assert {path: leaf.shape for path, leaf in leaves.items()}.items() <= {k: x.shape for k, x in flat.items()}.items()
    variables = flax.traverse_util.unflatten_dict(flat | {k: jnp.asarray(x) for k, x in leaves.items()}, sep="/")

    def logits(model):
        masked, lengths = jnp.ones((1, len(features)), bool), jnp.array([len(features)])
        return model.logits(model(nothing, masked, jnp.ones(1), lengths=lengths, condition=jnp.asarray(features)[None]))

    scores = jax.jit(nn.apply(logits, model))(variables)[0]
    centres = found["codebook"][:, :-1]
    direction, gain = found["project_in/direction"][0], found["project_in/gain"]
    points = (features @ (direction / np.linalg.norm(direction, axis=0) * gain) + found["project_in/bias"])[:, :-1]
    nearest = np.argmin(np.linalg.norm(points[:, None] - centres[None], axis=-1), axis=1)
    assert np.mean(np.argmax(scores, axis=-1) == nearest) > 0.95


def test_a_condition_of_other_features_keeps_its_drawn_adapter(codecs):
    config = dataclasses.replace(SEMANTIC, condition="plain", condition_width=512)
    leaves = code_vectors.semantic_generator_leaves(codecs, config, sees_latents=False)
    assert not any("adapter" in path for path in leaves)


def test_tables_of_a_rank_hold_the_same_vectors(codecs):
    whole = code_vectors.acoustic_generator_leaves(codecs, ACOUSTIC)["params/semantic_embedding/table"]
    low = code_vectors.acoustic_generator_leaves(codecs, dataclasses.replace(ACOUSTIC, semantic_rank=WIDTH + 2))
    assert low["params/semantic_embedding/table"].shape == (CODES, WIDTH + 2)
    rebuilt = low["params/semantic_embedding/table"] @ low["params/semantic_embedding/projection/kernel"]
    np.testing.assert_allclose(rebuilt, whole, atol=1e-5)
    with pytest.raises(ValueError, match="do not fit into tables of rank 2"):
        code_vectors.acoustic_generator_leaves(codecs, dataclasses.replace(ACOUSTIC, semantic_rank=2))


def test_what_is_missing_is_named(codecs):
    with pytest.raises(ValueError, match="give config.code_vectors.acoustic_codec"):
        code_vectors.acoustic_generator_leaves({"semantic_codec": codecs["semantic_codec"]}, ACOUSTIC)
    with pytest.raises(ValueError, match="width 4 do not fit into a generator of width 2"):
        code_vectors.semantic_generator_leaves(
            codecs, dataclasses.replace(SEMANTIC, width=2, num_heads=1), sees_latents=False
        )

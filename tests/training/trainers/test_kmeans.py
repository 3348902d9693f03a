"""A codebook of cluster centres: the quantizer finds the nearest centre, and decodes it."""

import flax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.layers.quantizer import FactorizedQuantizer
from metis_jax.training.trainers.kmeans import clusters

D, CODES, WIDTH = 12, 40, 6


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    # Five wide directions of twelve, off the origin.
    return (rng.normal(size=(4000, 5)) @ rng.normal(size=(5, D)) + 0.05 * rng.normal(size=(4000, D)) + 3).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def quantized(features):
    leaves = clusters(features, CODES, WIDTH, seed=0)
    params = flax.traverse_util.unflatten_dict(
        {("params", *path.split("/")): jnp.asarray(x) for path, x in leaves.items()}
    )
    x = jnp.asarray(features)[None]
    return FactorizedQuantizer(D, CODES, WIDTH).apply(params, x, jnp.array([len(features)]))


def test_a_frame_gets_the_centre_that_is_nearest_in_the_plain_sense(features, quantized):
    codes = np.asarray(quantized.codes)[0, :, 0]
    found = np.asarray(quantized.quantized)[0]
    centres = np.stack([found[codes == code].mean(axis=0) for code in np.unique(codes)])
    distances = np.linalg.norm(features[:, None] - centres[None], axis=-1)
    chosen = np.linalg.norm(features - found, axis=-1)
    assert np.mean(chosen <= distances.min(axis=1) + 1e-3) > 0.97


def test_decoding_keeps_most_of_the_variance(features, quantized):
    left = np.asarray(quantized.quantized)[0] - features
    assert np.sum(np.var(left, axis=0)) < 0.25 * np.sum(np.var(features, axis=0))
    assert len(np.unique(np.asarray(quantized.codes))) == CODES


def test_fewer_frames_than_codes_are_refused(features):
    with pytest.raises(ValueError, match="39 frames cannot start 40 codes"):
        clusters(features[:39], CODES, WIDTH, seed=0)


def test_codes_of_vectors_are_found_in_what_these_are_made_of(features):
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(D, D)).astype(np.float32), rng.normal(size=D).astype(np.float32)
    found = []
    for x, made in ((features @ kernel + bias, {}), (features, {"kernel": kernel, "bias": bias})):
        leaves = clusters(features @ kernel + bias, CODES, WIDTH, seed=0, **made)
        flat = {("params", *path.split("/")): jnp.asarray(leaf) for path, leaf in leaves.items()}
        params = flax.traverse_util.unflatten_dict(flat)
        output = FactorizedQuantizer(D, CODES, WIDTH).apply(params, jnp.asarray(x)[None], jnp.array([len(x)]))
        found.append(output)
    assert np.mean(np.asarray(found[0].codes == found[1].codes)) > 0.99

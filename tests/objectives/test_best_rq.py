"""Random-projection targets and span masks."""

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.objectives.best_rq import random_codes, sample_spans

SIZES = {"num_codebooks": 3, "codebook_size": 32, "code_width": 8}


def test_targets_follow_from_the_seed_alone():
    features = jax.random.normal(jax.random.key(0), (2, 50, 20))
    codes = random_codes(features, seed=1, **SIZES)
    assert codes.shape == (2, 50, 3)
    np.testing.assert_array_equal(codes, random_codes(features, seed=1, **SIZES))
    assert np.mean(np.asarray(codes) == np.asarray(random_codes(features, seed=2, **SIZES))) < 0.2


def test_codebooks_differ_and_are_used():
    codes = np.asarray(random_codes(jax.random.normal(jax.random.key(0), (4, 200, 20)), seed=0, **SIZES))
    assert all(len(np.unique(codes[:, :, i])) > 24 for i in range(3))
    assert np.mean(codes[:, :, 0] == codes[:, :, 1]) < 0.2


def test_targets_do_not_depend_on_loudness():
    features = jax.random.normal(jax.random.key(0), (2, 50, 20))
    louder = random_codes(features * jnp.float32(8), seed=0, **SIZES)
    np.testing.assert_array_equal(random_codes(features, seed=0, **SIZES), louder)


def test_spans_have_their_length_and_rate():
    lengths = jnp.full((4000,), 100, jnp.int32)
    masked = np.asarray(sample_spans(jax.random.key(0), lengths, 100, start_probability=0.05, span=10))
    # A frame stays visible if none of the last ten frames starts a span.
    np.testing.assert_allclose(masked[:, 30:].mean(), 1 - 0.95**10, atol=0.01)
    padded = np.pad(masked, ((0, 0), (1, 1))).astype(int)
    starts = np.argwhere(np.diff(padded, axis=1) == 1)
    ends = np.argwhere(np.diff(padded, axis=1) == -1)
    inside = ends[:, 1] < 100
    assert ((ends - starts)[inside, 1] >= 10).all()


def test_every_row_has_a_mask_and_padding_has_none():
    lengths = jnp.asarray(np.random.default_rng(0).integers(1, 40, 500), jnp.int32)
    masked = np.asarray(sample_spans(jax.random.key(1), lengths, 40, start_probability=0.0, span=5))
    assert masked.any(axis=1).all()
    assert not masked[np.arange(40)[None] >= np.asarray(lengths)[:, None]].any()

"""The phonetic codec: what is coded, what is restored, and codes that start at clusters."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import mini

from metis_jax.text.vocabulary import symbols, table_size
from metis_jax.training.trainers.phonetic_codec import clusters, phone_labels
from metis_jax.training.trainers.protocol import init_component


@pytest.fixture(scope="module")
def trainer():
    return mini.trainer_and_optimizers("phonetic_codec")[0]


@functools.partial(jax.jit, static_argnums=0)
def metrics_of(trainer, params, batch):
    return trainer.loss(params, batch, jax.random.key(0), deterministic=True).metrics


@pytest.fixture(scope="module")
def params(trainer):
    keys = jax.random.split(jax.random.key(0), 3)
    return {
        name: nn.unbox(jax.jit(functools.partial(init_component, trainer, name))(key))
        for name, key in zip(sorted(trainer.models()), keys, strict=True)
    }


@pytest.fixture(scope="module")
def batch():
    return jax.tree.map(jnp.asarray, mini.batch_for("phonetic_codec"))


def test_marks_are_silence_and_a_boundary_is_not_heard():
    labels = dict(zip(symbols(), phone_labels(table_size()).tolist(), strict=False))
    assert labels["_"] == -1 and {labels[mark] for mark in ",.?!:;'…"} == {0}
    assert labels["iː"] == symbols().index("iː") and sum(label <= 0 for label in labels.values()) == 9
    assert len(phone_labels(16)) == 16


def test_clusters_are_means_of_vectors_at_small_angles():
    rng = np.random.default_rng(0)
    centres = np.eye(6)[:4] * np.array([1.0, 2.0, 3.0, 4.0])[:, None]
    vectors = np.repeat(centres, 50, axis=0) + 0.01 * rng.normal(size=(200, 6))
    found = clusters(vectors.astype(np.float32), 4, seed=0)
    nearest = np.linalg.norm(found[:, None] - centres[None], axis=2)
    assert np.all(np.sort(nearest.min(axis=1)) < 0.02) and len(set(nearest.argmin(axis=1))) == 4
    with pytest.raises(ValueError, match="3 frames cannot start 4 codes; raise config.model.kmeans_frames"):
        clusters(vectors[:3], 4, seed=0)


def test_codes_start_where_frames_lie(trainer, params, batch):
    """With codes at clusters, each code stands for frames, and what passes is nearer to what passes without codes."""
    starting = dataclasses.replace(trainer, kmeans_frames=100)
    found = starting.first_look(params, iter([batch]), seed=0)
    started = dict(params)
    started["semantic_codec"] = {"params": dict(params["semantic_codec"]["params"])}
    quantizer = dict(params["semantic_codec"]["params"]["quantizer"])
    quantizer["codebook"] = jnp.asarray(found["semantic_codec"]["params/quantizer/codebook"])
    started["semantic_codec"]["params"]["quantizer"] = quantizer
    before, after = metrics_of(trainer, params, batch), metrics_of(trainer, started, batch)
    assert after["commitment"] < 0.2 * before["commitment"]
    assert after["codes_in_batch"] > 0.8 * mini.V


def test_without_codes_nothing_is_looked_up(trainer, params, batch):
    metrics = metrics_of(dataclasses.replace(trainer, is_quantized=False), params, batch)
    assert "commitment" not in metrics and {"phones", "ctc", "reconstruction"} <= set(metrics)
    with pytest.raises(ValueError, match="kmeans_frames is 10; without codes it has to be 0"):
        dataclasses.replace(trainer, is_quantized=False, kmeans_frames=10)


def test_what_is_restored_is_clean(trainer, params, batch):
    """The target of the restoration follows the clean recording, and the codes what is heard."""
    metrics = functools.partial(metrics_of, dataclasses.replace(trainer, is_quantized=False), params)
    given, reversed_target = metrics(batch), metrics(batch | {"target": batch["target"][:, ::-1]})
    assert given["ctc"] == reversed_target["ctc"] and given["reconstruction"] != reversed_target["reconstruction"]
    assert metrics(batch | {"source": batch["target"]})["ctc"] != given["ctc"]

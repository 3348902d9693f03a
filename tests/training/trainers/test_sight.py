"""The visual encoder's training: its statistics in the end, and lip-to-speech that sees through it."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import mini

from metis_jax.models.visual_encoder import VisualEncoder, standardized
from metis_jax.training.trainers.protocol import init_component
from metis_jax.training.trainers.semantic_generator import SemanticGeneratorTrainer


def drawn(trainer):
    keys = jax.random.split(jax.random.key(0), len(trainer.models()))
    return {
        name: nn.unbox(jax.jit(functools.partial(init_component, trainer, name))(key))
        for name, key in zip(sorted(trainer.models()), keys, strict=True)
    }


@pytest.fixture(scope="module")
def trainer():
    return mini.trainer_and_optimizers("visual_encoder")[0]


@pytest.mark.slow
def test_once_trained_it_sees_as_it_did_in_training(trainer):
    """Of one batch: the running statistics that `finish` sets normalise as the batch's own did."""
    params, batch = drawn(trainer), mini.batch_for("visual_encoder")
    finished = trainer.finish(params, iter([batch, batch]))["visual_encoder"]
    sight = VisualEncoder(mini.SIGHT)
    crops, lengths = standardized(jnp.asarray(batch["mouths"])), jnp.asarray(batch["visual_lengths"])
    learning, _ = jax.jit(lambda v: sight.apply(v, crops, lengths, train=True, mutable=["batch_stats"]))(finished)
    known = jax.jit(lambda v: sight.apply(v, crops, lengths, train=False))(finished)
    for one, other, length in zip(learning, known, batch["visual_lengths"], strict=True):
        np.testing.assert_allclose(one[:length], other[:length], atol=1e-2)
    untrained = jax.jit(lambda v: sight.apply(v, crops, lengths, train=False))(params["visual_encoder"])
    assert np.abs(untrained - known).max() > 0.1


def test_videos_without_a_text_are_only_imitated(trainer):
    batch = {name: jnp.asarray(x) for name, x in mini.batch_for("visual_encoder").items() if "phone" not in name}
    mute = dataclasses.replace(trainer, phone_weight=0.0)
    loss = jax.jit(lambda p: mute.loss(p, batch, jax.random.key(0), deterministic=False))(drawn(mute))
    assert set(loss.metrics) == {"features"} and float(loss.mean) == float(loss.metrics["features"])
    with pytest.raises(ValueError, match="no mouth crops; give config.data.example.lips"):
        mute.loss({}, {name: x for name, x in batch.items() if name != "mouths"}, jax.random.key(0), deterministic=True)


@pytest.mark.slow
def test_lip_to_speech_sees_through_the_encoder_or_by_features_alike():
    generator = dataclasses.replace(mini.ADAPTED, condition="plain")
    seeing = SemanticGeneratorTrainer(generator=generator, visual_encoder=mini.SIGHT)
    params, batch = drawn(seeing), mini.batch_for("visual_encoder")
    batch = {name: jnp.asarray(batch[name]) for name in ("mouths", "visual_lengths", "lengths")}
    none = jnp.zeros(mini.B, jnp.int32)
    found = jax.jit(lambda p: seeing.condition(p, batch, None, none, mini.T))(params)
    sight = VisualEncoder(mini.SIGHT)
    features = sight.apply(
        params["visual_encoder"], standardized(batch["mouths"]), batch["visual_lengths"], train=False
    )
    given = {"visual": features, "visual_lengths": batch["visual_lengths"], "lengths": batch["lengths"]}
    np.testing.assert_allclose(found, seeing.condition({}, given, None, none, mini.T), atol=1e-5)
    assert np.abs(found[0]).max() > 0.1 and not np.any(found[2, 19:])
    blind = dataclasses.replace(seeing, visual_encoder=None)
    with pytest.raises(ValueError, match="give config.model.visual_encoder"):
        blind.condition(params, batch, None, none, mini.T)

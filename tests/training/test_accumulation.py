"""A batch that passes in parts, of rows of many lengths, gives what it gives at once: every token weighs the same."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import mini

from metis_jax.ops.lengths import valid_mask
from metis_jax.sharding import MeshConfig, activate, make_mesh
from metis_jax.training.state import make_layout, materialize
from metis_jax.training.steps import mean_gradients
from metis_jax.training.trainers import acoustic_generator, semantic_generator, ssl_encoder
from metis_jax.training.trainers.masking import Masks

LENGTHS = np.array([mini.T, 3, 9, mini.T, 5, 20, 4, 13], np.int32)
# Numbers of codes and their perplexity are of what is coded at once, and no means; the two errors of denoising are
# means over other frames than their sum is, and so is what is right of the frames whose phones are known.
NOT_ALIKE = {"codes_in_batch", "code_perplexity", "degraded", "clean", "phone_accuracy"}


def _masked(lengths, t):
    """Frames to predict: more of a long row than of a short one, and the same whatever rows are beside it."""
    return valid_mask(lengths, t) & ((jnp.arange(t)[None] * 7 + lengths[:, None]) % 3 != 0)


def _masks(key, lengths, t, **_):
    is_masked, none = _masked(lengths, t), jnp.zeros_like(lengths)
    return Masks(jnp.full(lengths.shape, 0.5), is_masked, is_masked, none, none, none > 0)


def _without_chance(name, monkeypatch):
    """The trainer, its optimizers and a batch of unequal rows, with nothing drawn inside the loss."""
    for module in (semantic_generator, acoustic_generator):
        monkeypatch.setattr(module, "draw_masks", _masks)
    monkeypatch.setattr(acoustic_generator, "sample_levels", lambda key, b, weights: jnp.full((b,), len(weights) - 1))
    monkeypatch.setattr(ssl_encoder, "sample_spans", lambda key, lengths, t, **_: _masked(lengths, t))
    trainer, optimizers = mini.trainer_and_optimizers(name)
    if name in ("acoustic_codec", "source_filter"):
        config = dataclasses.replace(trainer.acoustic_codec, quantizer_dropout=0.0)
        trainer = dataclasses.replace(trainer, acoustic_codec=config)
    if name == "lora":
        trainer = dataclasses.replace(trainer, lora=dataclasses.replace(trainer.lora, dropout=0.0))
    batch = mini.batch_for(name) | {"lengths": LENGTHS}
    samples = 480 * LENGTHS if name in ("acoustic_codec", "source_filter") else 320 * LENGTHS + 240
    batch |= {key: samples for key in ("wave_lengths", "source_lengths", "target_lengths") if key in batch}
    if "target_starts" in batch:
        batch["target_lengths"] = samples - 320 * batch["target_starts"]
    return trainer, optimizers, jax.tree.map(jnp.asarray, batch)


def _found(trainer, params, frozen, batch, accumulate):
    run = jax.jit(lambda *args: mean_gradients(trainer, *args, jax.random.key(1), accumulate))
    return jax.device_get(run(params, frozen, batch))


FAST = ("pretrain",)
# Of a visual encoder each part is normalised by itself, as its batch normalisation has it.
EXACT = [name for name in mini.TRAINERS if name != "visual_encoder"]
ALL = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in EXACT]


@pytest.mark.parametrize("name", ALL)
def test_parts_give_the_gradient_and_the_metrics_of_the_whole(name, monkeypatch):
    trainer, optimizers, batch = _without_chance(name, monkeypatch)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    with activate(mesh):
        layout = make_layout(trainer, optimizers, mesh)
        key = jax.random.key(0)
        params = materialize(trainer, key, layout.trainable, layout.trainable_shardings, {})
        frozen = materialize(trainer, key, layout.frozen, layout.frozen_shardings, {})
        whole, metrics = _found(trainer, params, frozen, batch, 1)
        parts, part_metrics = _found(trainer, params, frozen, batch, 4)
    for component in optimizers:
        leaves = jax.tree_util.tree_leaves_with_path(whole[component])
        size = np.sqrt(sum(np.sum(np.square(leaf)) for _, leaf in leaves))
        for (path, leaf), own in zip(leaves, jax.tree.leaves(parts[component]), strict=True):
            assert np.abs(own - leaf).max() < 2e-4 * size, (component, jax.tree_util.keystr(path))
    for label in metrics.keys() - NOT_ALIKE:
        assert part_metrics[label] == pytest.approx(metrics[label], rel=1e-4, abs=1e-6), label

"""The trainers use the masks, prompts and levels that DESIGN.md section 4 states; the samplers have tests of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import mini

from metis_jax.sharding import MeshConfig, make_mesh
from metis_jax.training.stages import acoustic_generator, semantic_generator
from metis_jax.training.stages.frontend import encoder_frames, upsample_twice
from metis_jax.training.stages.masking import draw_masks
from metis_jax.training.state import all_params, make_layout, materialize


def params_of(name: str):
    stage, optimizers = mini.stage_and_optimizers(name)
    layout = make_layout(stage, optimizers, make_mesh(MeshConfig(), jax.devices()[:1]))
    key = jax.random.key(0)
    return stage, all_params(
        materialize(stage, key, layout.trainable, layout.trainable_shardings, {}),
        materialize(stage, key, layout.frozen, layout.frozen_shardings, {}),
    )


def spy(monkeypatch, module):
    """Records what a stage asks of `draw_masks` and what it gets."""
    calls = []

    def recorded(key, lengths, t, **options):
        masks = draw_masks(key, lengths, t, **options)
        calls.append((options, masks))
        return masks

    monkeypatch.setattr(module, "draw_masks", recorded)
    return calls


def test_pretraining_masks(monkeypatch):
    stage, params = params_of("pretrain")
    calls = spy(monkeypatch, semantic_generator)
    batch = jax.tree.map(jnp.asarray, mini.batch_for("pretrain"))
    stage.loss(params, batch, jax.random.key(3), deterministic=False)
    options, masks = calls[0]
    assert (options["prompt_share"], options["prompt_probability"], options["minimum_rate"]) == (0.4, 0.85, 0.2)
    assert options["given_prompts"] is None
    assert masks.is_masked.any(axis=1).all()
    assert not (masks.is_masked & masks.is_prompt).any()


def test_stage2_masks_and_levels(monkeypatch):
    stage, params = params_of("stage2_full")
    calls = spy(monkeypatch, acoustic_generator)
    drawn = []
    sample_levels = acoustic_generator.sample_levels
    monkeypatch.setattr(
        acoustic_generator, "sample_levels", lambda *a: drawn.append((a[2], sample_levels(*a))) or drawn[-1][1]
    )
    batch = jax.tree.map(jnp.asarray, mini.batch_for("stage2_full"))
    stage.loss(params, batch, jax.random.key(3), deterministic=False)
    options, _ = calls[0]
    assert (options["prompt_share"], options["prompt_probability"], options["minimum_rate"]) == (0.5, 0.85, 0.0)
    weights, levels = drawn[0]
    assert np.asarray(weights)[0] == 0 and (np.diff(np.asarray(weights)[1:]) < 0).all()
    assert (np.asarray(levels) >= 1).all()


def test_fine_tuning_keeps_the_prompts_of_the_data(monkeypatch):
    stage, params = params_of("pretrain")
    calls = spy(monkeypatch, semantic_generator)
    batch = jax.tree.map(jnp.asarray, mini.batch_for("pretrain"))
    batch["prompt_lengths"] = jnp.asarray([0, 0, 4, 4, -1, -1, 0, 0], jnp.int32)
    stage.loss(params, batch, jax.random.key(3), deterministic=False)
    _, masks = calls[0]
    given = np.asarray(batch["prompt_lengths"])
    np.testing.assert_array_equal(np.asarray(masks.prompt_lengths)[given >= 0], given[given >= 0])


def test_drawn_prompts_replace_only_the_ones_left_open():
    lengths = jnp.full((2000,), 100, jnp.int32)
    given = jnp.where(jnp.arange(2000) % 2 == 0, 7, -1).astype(jnp.int32)
    masks = draw_masks(
        jax.random.key(0), lengths, 100, prompt_share=0.4, prompt_probability=0.85, minimum_rate=0.2, given_prompts=given
    )
    prompts = np.asarray(masks.prompt_lengths)
    assert (prompts[::2] == 7).all()
    assert np.mean(prompts[1::2] > 0) == pytest.approx(0.85, abs=0.04)


def test_a_row_without_a_source_ignores_the_condition():
    stage, params = params_of("finetune")
    # The gate starts at zero; open it, so that a condition could be seen.
    params["semantic_generator"]["params"]["condition_adapter"]["gate"] = jnp.ones((1,))
    batch = jax.tree.map(jnp.asarray, mini.batch_for("finetune"))
    loss = jax.jit(lambda batch: stage.loss(params, batch, jax.random.key(3), deterministic=True)[0])
    other = batch | {"source": batch["source"][::-1]}
    assert float(loss(batch)) != float(loss(other))
    none = {"has_source": jnp.zeros(mini.B, bool)}
    assert float(loss(batch | none)) == float(loss(other | none))


def test_samples_and_frames_of_a_padded_wave():
    assert encoder_frames(320 * 24 + 240, mini.SSL) == 24


def test_upsampling_equals_interpolation_row_by_row():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 3)).astype(np.float32)
    lengths = np.array([6, 4], np.int32)
    y = np.asarray(upsample_twice(jnp.asarray(x), jnp.asarray(lengths)))
    for row, count in enumerate(lengths):
        places = np.clip((np.arange(2 * count) + 0.5) / 2 - 0.5, 0, count - 1)
        for channel in range(3):
            expected = np.interp(places, np.arange(count), x[row, :count, channel])
            np.testing.assert_allclose(y[row, : 2 * count, channel], expected, atol=1e-6)

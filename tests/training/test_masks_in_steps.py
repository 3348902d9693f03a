"""The trainers ask for the masks, prompts and levels of the papers; the samplers have tests of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import mini

from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.ops.masking import level_weights
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


def asked_of_masks(monkeypatch, module, name: str, **extra):
    """What a stage asks of `draw_masks`, from tracing its loss on a batch."""
    asked = []

    def recorded(key, lengths, t, **options):
        asked.append(options)
        return draw_masks(key, lengths, t, **options)

    monkeypatch.setattr(module, "draw_masks", recorded)
    stage, params = params_of(name)
    batch = jax.tree.map(jnp.asarray, mini.batch_for(name) | extra)
    jax.eval_shape(lambda: stage.loss(params, batch, jax.random.key(3), deterministic=False))
    (options,) = asked
    return options


def test_pretraining_masks(monkeypatch):
    options = asked_of_masks(monkeypatch, semantic_generator, "pretrain")
    assert options == {
        "prompt_share": 0.4,
        "prompt_probability": 0.85,
        "minimum_rate": 0.2,
        "given_prompts": None,
    }


def test_stage2_masks_and_levels(monkeypatch):
    asked = []
    monkeypatch.setattr(acoustic_generator, "level_weights", lambda *a: asked.append(a) or level_weights(*a))
    options = asked_of_masks(monkeypatch, acoustic_generator, "stage2_full")
    assert options == {"prompt_share": 0.5, "prompt_probability": 0.85, "minimum_rate": 0.0}
    # Three levels of which the first is given.
    assert asked == [(3, 1)]


def test_fine_tuning_keeps_the_prompts_of_the_data(monkeypatch):
    given = np.array([0, 0, 4, 4, -1, -1, 0, 0], np.int32)
    options = asked_of_masks(monkeypatch, semantic_generator, "pretrain", prompt_lengths=given)
    np.testing.assert_array_equal(options["given_prompts"], given)


def test_masks_leave_prompt_and_padding_alone():
    lengths = jnp.asarray(np.random.default_rng(0).integers(8, 24, 300), jnp.int32)
    masks = draw_masks(jax.random.key(1), lengths, 24, prompt_share=0.4, prompt_probability=0.85, minimum_rate=0.2)
    assert masks.is_masked.any(axis=1).all()
    assert not (masks.is_masked & masks.is_prompt).any()
    assert not (masks.is_masked & (jnp.arange(24)[None] >= lengths[:, None])).any()


def test_drawn_prompts_replace_only_the_ones_left_open():
    lengths = jnp.full((2000,), 100, jnp.int32)
    given = jnp.where(jnp.arange(2000) % 2 == 0, 7, -1).astype(jnp.int32)
    options = {"prompt_share": 0.4, "prompt_probability": 0.85, "minimum_rate": 0.2}
    masks = draw_masks(jax.random.key(0), lengths, 100, given_prompts=given, **options)
    prompts = np.asarray(masks.prompt_lengths)
    assert (prompts[::2] == 7).all()
    assert np.mean(prompts[1::2] > 0) == pytest.approx(0.85, abs=0.04)


def test_a_row_without_a_condition_does_not_see_it():
    stage, params = params_of("lora")
    variables = params["semantic_generator"]
    # The gate starts at zero; open it, so that a condition could be seen.
    variables["params"]["condition_adapter"]["gate"] = jnp.ones((1,))
    model = SemanticGenerator(mini.ADAPTED, lora=stage.lora)
    tokens = jnp.zeros((2, 6), jnp.int32)

    @jax.jit
    def hidden(condition):
        return model.apply(
            variables,
            tokens,
            tokens == 0,
            jnp.ones((2,)),
            lengths=jnp.full((2,), 6, jnp.int32),
            condition=condition,
            has_condition=jnp.array([True, False]),
        )

    one, other = (hidden(jax.random.normal(jax.random.key(seed), (2, 6, 16))) for seed in (0, 1))
    assert not np.allclose(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


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

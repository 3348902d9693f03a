"""The trainers ask for the masks, prompts and levels of the papers; the samplers have tests of their own."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import mini

from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.ops.masking import level_weights
from metis_jax.ops.mel import log_mel
from metis_jax.sharding import MeshConfig, make_mesh
from metis_jax.training.state import all_params, make_layout, materialize
from metis_jax.training.trainers import acoustic_generator, semantic_generator
from metis_jax.training.trainers.frontend import encoder_frames, upsample_twice
from metis_jax.training.trainers.masking import draw_masks
from metis_jax.training.trainers.semantic_generator import SemanticGeneratorTrainer


def layout_of(name: str):
    trainer, optimizers = mini.trainer_and_optimizers(name)
    return trainer, make_layout(trainer, optimizers, make_mesh(MeshConfig(), jax.devices()[:1]))


@functools.cache
def fine_tuning():
    """The trainer, its parameters, and its jitted `targets`."""
    trainer, layout = layout_of("finetune")
    key = jax.random.key(0)
    params = all_params(
        materialize(trainer, key, layout.trainable, layout.trainable_shardings, {}),
        materialize(trainer, key, layout.frozen, layout.frozen_shardings, {}),
    )
    return trainer, params, jax.jit(trainer.targets)


def asked_of_masks(monkeypatch, module, name: str, **extra):
    """What a trainer asks of `draw_masks`, from tracing its loss on a batch."""
    asked = []

    def recorded(key, lengths, t, **options):
        asked.append(options)
        return draw_masks(key, lengths, t, **options)

    monkeypatch.setattr(module, "draw_masks", recorded)
    trainer, layout = layout_of(name)
    batch = jax.tree.map(jnp.asarray, mini.batch_for(name) | extra)
    params = all_params(layout.trainable, layout.frozen)
    jax.eval_shape(lambda params: trainer.loss(params, batch, jax.random.key(3), deterministic=False).mean, params)
    (options,) = asked
    return options


def test_pretraining_masks(monkeypatch):
    options = asked_of_masks(monkeypatch, semantic_generator, "pretrain")
    assert options == {
        "prompt_share": 0.4,
        "prompt_probability": 0.85,
        "minimum_rate": 0.2,
        "given_prompts": None,
        "target_starts": None,
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


OPTIONS = {"prompt_share": 0.4, "prompt_probability": 0.85, "minimum_rate": 0.2}
draw = jax.jit(functools.partial(draw_masks, **OPTIONS), static_argnums=2)


def test_masks_leave_prompt_and_padding_alone():
    lengths = jnp.asarray(np.random.default_rng(0).integers(8, 24, 300), jnp.int32)
    masks = draw(jax.random.key(1), lengths, 24)
    assert masks.is_masked.any(axis=1).all()
    assert not (masks.is_masked & masks.is_prompt).any()
    assert not (masks.is_masked & (jnp.arange(24)[None] >= lengths[:, None])).any()


def test_rows_without_a_prompt_are_as_many_as_guidance_needs():
    lengths = jnp.full((2000,), 100, jnp.int32)
    given = jnp.where(jnp.arange(2000) % 2 == 0, 7, -1).astype(jnp.int32)
    starts = jnp.where(given > 0, 8, 0)
    masks = draw(jax.random.key(0), lengths, 100, given_prompts=given, target_starts=starts)
    prompts, is_bare = np.asarray(masks.prompt_lengths), np.asarray(masks.is_bare)
    for kind in (slice(0, None, 2), slice(1, None, 2)):
        assert np.mean(is_bare[kind]) == pytest.approx(0.15, abs=0.04)
        assert (prompts[kind][is_bare[kind]] == 0).all()
    assert (prompts[::2][~is_bare[::2]] == 7).all() and (prompts[1::2][~is_bare[1::2]] > 0).all()
    # A given prompt leaves the row, so that the target stands alone; what was drawn inside a recording stays in it.
    np.testing.assert_array_equal(masks.skipped, np.where(is_bare & (given > 0), 8, 0))
    behind = np.arange(100)[None] >= (100 - np.asarray(masks.skipped))[:, None]
    assert not (np.asarray(masks.is_masked) & behind).any()


def test_the_frame_between_prompt_and_target_is_hidden_and_not_predicted():
    lengths, given = jnp.full((64,), 30, jnp.int32), jnp.full((64,), 7, jnp.int32)
    masks = draw(jax.random.key(0), lengths, 30, given_prompts=given, target_starts=given + 1)
    prompted = ~np.asarray(masks.is_bare)
    is_hidden, is_masked = np.asarray(masks.is_hidden)[prompted], np.asarray(masks.is_masked)[prompted]
    assert is_hidden[:, 7].all() and not is_masked[:, :8].any() and not is_hidden[:, :7].any()
    np.testing.assert_array_equal(is_hidden[:, 8:], is_masked[:, 8:])


def test_a_bare_row_is_what_the_second_pass_of_guidance_sees(monkeypatch):
    """Training on rows without prompt and phones and both passes of decoding give the same hidden states."""
    config = dataclasses.replace(mini.ADAPTED, phone_vocabulary=9)
    trainer = SemanticGeneratorTrainer(generator=config, prompt_probability=0.0)
    none = jnp.zeros((1, 2), jnp.int32)
    variables = jax.jit(lambda key: nn.unbox(trainer._model.init(key, none, method="init_all")))(jax.random.key(0))
    variables["params"]["condition_adapter"]["gate"] = jnp.ones((1,))
    b, t, rng = 3, 12, np.random.default_rng(0)
    batch = {
        "tokens": jnp.asarray(rng.integers(0, mini.V, (b, t)), jnp.int32),
        "lengths": jnp.array([12, 10, 11], jnp.int32),
        "prompt_lengths": jnp.array([3, 2, 4], jnp.int32),
        "target_starts": jnp.array([4, 3, 5], jnp.int32),
        "phones": jnp.asarray(rng.integers(1, 9, (b, 5)), jnp.int32),
        "phone_lengths": jnp.array([5, 3, 4], jnp.int32),
    }
    features = jnp.asarray(rng.normal(size=(b, t, 16)), jnp.float32)
    monkeypatch.setattr(SemanticGeneratorTrainer, "targets", lambda *_: (batch["tokens"], features))
    seen = {}

    def recorded(model, tokens, is_masked, time, **options):
        seen.update(options, tokens=tokens, is_masked=is_masked, time=time)
        seen["hidden"] = call(model, tokens, is_masked, time, **options)
        return seen["hidden"]

    call = SemanticGenerator.__call__
    monkeypatch.setattr(SemanticGenerator, "__call__", recorded)

    def trace():
        trainer.loss({"semantic_generator": variables}, batch, jax.random.key(1), deterministic=True)
        return {name: seen[name] for name in ("hidden", "is_masked", "time")}

    found = jax.jit(trace)()
    trained = found["hidden"]

    # In decoding the hidden frames of the target lie behind the prompt.
    starts = batch["target_starts"]
    at = np.arange(t)[None] - np.asarray(starts)[:, None]
    hidden_there = np.take_along_axis(np.asarray(found["is_masked"]), at.clip(0), axis=1) | (at < 0)

    def both():
        return SemanticGenerator(config).apply(
            variables,
            batch["tokens"],
            jnp.asarray(hidden_there),
            found["time"],
            prompt_lengths=starts,
            target_frames=t,
            condition=features,
            **{name: batch[name] for name in ("lengths", "phones", "phone_lengths")},
            method="with_and_without_prompt",
        )[1]

    tokens = jax.jit(both)()
    for row, length in enumerate(np.asarray(batch["lengths"] - starts)):
        np.testing.assert_allclose(trained[row, :length], tokens[row, :length], atol=1e-5)


def test_a_text_that_guides_an_extraction_is_left_out_by_itself_too():
    trainer = SemanticGeneratorTrainer(generator=mini.SEMANTIC, prompt_probability=0.85)
    n = 4000
    given = jnp.where(jnp.arange(n) % 2 == 0, 7, -1).astype(jnp.int32)
    batch = {"prompt_lengths": given, "phones": jnp.zeros((n, 4), jnp.int32)}
    batch["phone_lengths"] = jnp.full((n,), 4, jnp.int32)
    masks = draw(jax.random.key(0), jnp.full((n,), 40, jnp.int32), 40, given_prompts=given)
    has_phones = np.asarray(trainer._phone_lengths(batch, masks, jax.random.key(1))) > 0
    is_bare = np.asarray(masks.is_bare)
    assert not has_phones[is_bare].any()
    assert has_phones[1::2][~is_bare[1::2]].all()
    assert np.mean(has_phones[::2][~is_bare[::2]]) == pytest.approx(0.85, abs=0.03)


@pytest.mark.slow
def test_prompt_and_target_tokens_are_those_that_inference_finds():
    """Each wave is encoded by itself, as `Metis.encode_prompt` does, and the condition with both in one."""
    _, params, targets = fine_tuning()
    batch = mini.batch_for("finetune")
    tokens, condition = jax.device_get(targets(params, {name: jnp.asarray(x) for name, x in batch.items()}))

    @jax.jit
    def encode(wave, lengths):
        mel, frames = log_mel(wave, lengths, mel_bins=mini.SSL.mel_bins)
        features = SslEncoder(mini.SSL).apply(params["ssl_encoder"], mel, frames, method="features")
        codec = SemanticCodec(mini.SEMANTIC_CODEC)
        return codec.apply(params["semantic_codec"], features, frames, method="encode"), features, frames

    def alone(wave, samples):
        # One padded length, so one program; padding changes no valid frame.
        wave = np.pad(wave[:samples], (0, batch["target"].shape[1] - samples))[None]
        tokens, features, frames = jax.device_get(encode(wave, np.array([samples], np.int32)))
        return tokens[0, : int(frames[0])], features[0, : int(frames[0])]

    for row in (1, 2):
        start, length = int(batch["target_starts"][row]), int(batch["lengths"][row])
        target, _ = alone(batch["target"][row], int(batch["target_lengths"][row]))
        np.testing.assert_array_equal(tokens[row, start:length], target[: length - start])
        if start:
            prompt, _ = alone(batch["prompt_wave"][row], 320 * start)
            known = int(batch["prompt_lengths"][row])
            assert len(prompt) == known == start - 1
            np.testing.assert_array_equal(tokens[row, :known], prompt)
        _, features = alone(batch["source"][row], int(batch["source_lengths"][row]))
        np.testing.assert_allclose(condition[row, :length], features[:length], atol=1e-4)


def test_a_row_without_waves_has_finite_features():
    """Rows of other tasks bring no source and no prompt: zeros of length zero must not spoil the batch's gradient."""
    _, params, targets = fine_tuning()
    batch = mini.batch_for("finetune")
    batch["source"][1], batch["source_lengths"][1], batch["has_source"][1] = 0, 0, False
    batch = {name: jnp.asarray(x) for name, x in batch.items()}
    _, condition = targets(params, batch)
    assert np.isfinite(condition).all()


def test_a_row_without_a_condition_does_not_see_it():
    _, params, _ = fine_tuning()
    # The gate starts at zero; open it, so that a condition could be seen.
    own = params["semantic_generator"]["params"]
    adapter = own["condition_adapter"] | {"gate": jnp.ones((1,))}
    variables = {"params": own | {"condition_adapter": adapter}}
    model = SemanticGenerator(mini.ADAPTED)
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


def test_samples_show_rows_without_a_source_as_they_are_trained(monkeypatch):
    """Decoding is told which rows have one; what it does with that has a test of its own."""

    class Asked(Exception):
        pass

    def asked(steps, model, variables, decoder, inputs, *_):
        raise Asked(inputs.has_condition.tolist())

    trainer, _ = mini.trainer_and_optimizers("finetune")
    batch = jax.tree.map(jnp.asarray, mini.batch_for("finetune"))
    batch["has_source"] = jnp.arange(mini.B) % 2 == 1
    found = jnp.zeros((2, mini.T), jnp.int32), jnp.zeros((2, mini.T, trainer.generator.condition_width))
    monkeypatch.setattr(type(trainer), "targets", lambda *_: found)
    monkeypatch.setattr(semantic_generator, "run_stage", asked)
    with pytest.raises(Asked, match=r"\[False, True\]"):
        trainer.samples({"semantic_generator": {}}, batch, jax.random.key(1))

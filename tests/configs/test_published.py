"""What the experiment files take from their sources, as numbers."""

import dataclasses
import importlib

import pytest

from metis_jax.config import SIZES
from metis_jax.inference.windows import WindowPlan
from metis_jax.sharding import MeshConfig
from metis_jax.training.config import TrainConfig
from metis_jax.training.experiment import read_config
from metis_jax.training.optim import learning_rate
from metis_jax.training.trainers.registry import make_trainer

GENERATORS = (
    *("pretrain", "s2a_first", "s2a_full"),
    *("finetune_tts", "finetune_vc", "finetune_tse", "finetune_se", "finetune_l2s", "finetune_omni"),
)


def experiment(name: str) -> TrainConfig:
    return read_config(importlib.import_module(f"configs.{name}").get_config().to_dict())


# What fine-tuning adds to the pre-trained generator, and the model of one level has less of.
OTHER = {"condition", "condition_width", "phone_vocabulary", "num_levels"}


@pytest.mark.parametrize("name", (*GENERATORS, "ssl_encoder", "semantic_codec", "acoustic_codec", "duration_predictor"))
def test_sizes_weights_and_masks_that_a_file_says_are_the_published_ones(name):
    """The classes have them as defaults, by which whatever is converted is read."""
    config = experiment(name)
    trainer = make_trainer(config.stage, config.model)
    for field in dataclasses.fields(trainer):
        value = getattr(trainer, field.name)
        if published := SIZES["full"].get(type(value)):
            assert (
                dataclasses.replace(published, **{key: getattr(value, key) for key in OTHER & set(vars(value))})
                == value
            )
        elif isinstance(value, float):
            assert value == field.default


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_see_what_decoding_uses_in_batches_of_10000_tokens_per_device(name):
    config = experiment(name)
    data = config.pipeline(devices=8, multiple=8)
    assert data.buckets[-1] == WindowPlan().frames
    tokens = [rows * bucket for rows, bucket in zip(data.rows, data.buckets, strict=True)]
    assert max(tokens) == 80_000 and min(tokens) >= 72_000
    (optimizer,) = config.optimizers.values()
    assert (optimizer.b1, optimizer.b2) == (0.9, 0.999)
    if name in ("finetune_vc", "finetune_tse", "finetune_omni"):
        assert data.recipe.prompt_frames == (100, 500)


def test_semantic_codec():
    config = experiment("semantic_codec")
    assert config.model["semantic_codec"]["reconstruction_weight"] == 32
    (optimizer,) = config.optimizers.values()
    assert (optimizer.b1, optimizer.b2, optimizer.warmup_steps, optimizer.schedule) == (0.5, 0.9, 10_000, "constant")
    data = config.pipeline()
    assert (data.buckets, data.rows) == ((400,), (32,))


def test_acoustic_codec():
    config = experiment("acoustic_codec")
    codec, discriminators = (config.optimizers[name] for name in ("acoustic_codec", "discriminators"))
    assert (codec.clip_norm, discriminators.clip_norm) == (1000, 10)
    for optimizer in (codec, discriminators):
        assert (optimizer.b1, optimizer.b2) == (0.8, 0.99)
        assert float(learning_rate(optimizer)(250_000)) == pytest.approx(1e-4 * 0.999996**250_000, rel=1e-4)
    data = config.pipeline(devices=8, multiple=8)
    assert (data.buckets, data.rows) == ((50,), (72,))
    assert data.parts[0].select.min_sample_rate == 24_000 and data.example.random_phase
    assert config.mesh == MeshConfig(data=-1)

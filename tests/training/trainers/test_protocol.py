"""What holds of every trainer that a config can name, without computing anything."""

import dataclasses

import pytest
from training import mini

from metis_jax.data.batches.pipeline import BATCH_KINDS
from metis_jax.training.trainers.protocol import Trainer
from metis_jax.training.trainers.registry import TRAINERS
from metis_jax.types import Policy


@pytest.mark.parametrize("kind", TRAINERS.values(), ids=TRAINERS)
def test_a_trainer_says_what_its_loss_reads(kind):
    assert issubclass(kind, Trainer) and "Reads `" in kind.loss.__doc__


@pytest.mark.parametrize("name", mini.TRAINERS)
def test_of_every_trainer_the_loop_and_the_export_ask_the_same(name):
    trainer, optimizers = mini.trainer_and_optimizers(name)
    assert set(trainer.reads) <= set(BATCH_KINDS) and set(optimizers) <= set(trainer.models())
    halved = trainer.executed(dtype="bfloat16")
    policies = [field.name for field in dataclasses.fields(trainer) if isinstance(getattr(trainer, field.name), Policy)]
    assert "policy" in policies
    assert all(getattr(halved, policy) == Policy(dtype="bfloat16") for policy in policies)
    assert dataclasses.replace(halved, **{policy: getattr(trainer, policy) for policy in policies}) == trainer


def test_of_stage_two_a_bundle_of_the_chain_has_two_models():
    first, full, stage_1 = (
        mini.trainer_and_optimizers(name)[0] for name in ("stage2_first", "stage2_full", "pretrain")
    )
    assert first.name_in_chain("acoustic_generator") == "acoustic_generator_first"
    assert full.name_in_chain("acoustic_generator") == "acoustic_generator_full"
    assert stage_1.name_in_chain("semantic_generator") == "semantic_generator"

"""Validation from the first step on: a corpus of one speaker, a development set, and evaluations that fail."""

import json
import logging

import numpy as np
import pytest
from training.test_loop import config, losses

from metis_jax.data.batches.pipeline import Pipeline
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.synthetic import synthetic_record
from metis_jax.training import loop
from metis_jax.training.checkpoint import Checkpoints
from metis_jax.training.loop import train

pytestmark = pytest.mark.usefixtures("one_device", "shared_programs")


def write(folder, count: int, first: int = 0) -> tuple[str, ...]:
    """Shards of one synthetic voice, whom the corpus does not hold out."""
    folder.mkdir()
    records = [synthetic_record(8 * index, 0) for index in range(first, first + count)]
    shards.write_shard(folder / shards.shard_name(0, 1), records)
    return (str(folder),)


def on(shards: tuple[str, ...], **changes):
    """Four steps over the shards, evaluated after each second."""
    data = config().data | {"shards": shards} | changes.pop("data", {})
    return config(
        **(dict(synthetic=0, data=data, steps=4, eval_every=2, sample_every=0, checkpoint_every=100) | changes)
    )


def validated(workdir) -> list[int]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["split"] == "validation"]


def test_one_speaker_is_validated_by_recordings_kept_apart(tmp_path):
    made = on(write(tmp_path / "shards", 20))
    assert train(made, tmp_path / "run").step == 4
    assert validated(tmp_path / "run") == [2, 4]
    pipeline = Pipeline(made.pipeline())
    assert not set(pipeline.parts[0].items) & set(pipeline.validation().parts[0].items)


def test_one_recording_is_trained_on_without_validation(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    assert train(on(write(tmp_path / "shards", 1), sample_every=2), tmp_path / "run").step == 4
    assert validated(tmp_path / "run") == []
    assert "pretrain: trained without validation, too little to hold out" in caplog.messages


def test_a_development_set_of_ones_own_is_the_validation(tmp_path):
    dev = write(tmp_path / "dev", 3, first=30)
    made = on(write(tmp_path / "shards", 5), data={"validation_shards": dev})
    assert train(made, tmp_path / "run").step == 4
    assert validated(tmp_path / "run") == [2, 4]
    assert len(Pipeline(made.pipeline()).parts[0]) == 5


def test_validation_can_be_turned_off(tmp_path):
    assert train(on(write(tmp_path / "shards", 5), eval_every=0), tmp_path / "run").step == 4
    assert validated(tmp_path / "run") == []


def test_an_evaluation_that_fails_does_not_lose_the_steps_before(tmp_path, monkeypatch):
    made = on(write(tmp_path / "shards", 5))

    def fails(self):
        raise ValueError("no such luck")

    monkeypatch.setattr(loop.Loop, "evaluate", fails)
    with pytest.raises(ValueError, match="no such luck"):
        train(made, tmp_path / "run")
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    assert checkpoints.latest() == 2
    checkpoints.close()
    monkeypatch.undo()
    assert train(made, tmp_path / "run").step == 4
    assert sorted(losses(tmp_path / "run")) == [1, 2, 3, 4]


def test_the_seed_of_a_run_is_that_of_its_data(tmp_path):
    shards = write(tmp_path / "shards", 20)
    first = [Pipeline(on(shards, seed=seed).pipeline())[0]["tokens"] for seed in (0, 0, 7)]
    np.testing.assert_array_equal(first[0], first[1])
    assert first[0].shape != first[2].shape or (first[0] != first[2]).any()

"""What is held out where there are few speakers, few recordings, or a development set."""

import logging

import numpy as np
import pytest

from metis_jax.data.batches.examples import ExampleConfig
from metis_jax.data.batches.pipeline import PartConfig, Pipeline, PipelineConfig
from metis_jax.data.batches.recipes import NoExamples, RecipeConfig
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.corpus import Corpus, Selection, is_held_out
from metis_jax.data.corpus.records import Record

# Speakers of whom 5% hold none out, and one who is held out.
KEPT = [name for name in (f"speaker{index}" for index in range(200)) if not is_held_out(name, 0.05, 0)]
HELD = next(name for name in (f"other{index}" for index in range(200)) if is_held_out(name, 0.05, 0))


def recordings(count: int, speakers, **fields) -> list[Record]:
    """`count` recordings of three seconds, of the speakers in turn."""
    fields = {"sample_rate": 16_000, "samples": 48_000, "audio": b"x"} | fields
    return [
        Record(id=f"{speakers[0]}-{index:03d}", speaker=speakers[index % len(speakers)], **fields)
        for index in range(count)
    ]


def corpus(folder, records, **options) -> Corpus:
    folder.mkdir(exist_ok=True)
    shards.write_shard(folder / shards.shard_name(0, 1), records)
    return Corpus([folder], **options)


def sides(one: Corpus, **fields) -> tuple[np.ndarray, np.ndarray]:
    return tuple(one.select(Selection(split=split, **fields)) for split in ("train", "validation"))


@pytest.mark.parametrize("speaker", [KEPT[0], HELD])
def test_of_one_speaker_recordings_are_held_out(tmp_path, speaker):
    one = corpus(tmp_path / "a", recordings(20, [speaker]))
    train, validation = sides(one)
    assert len(validation) and sorted([*train, *validation]) == list(range(20))
    assert len(validation) <= 3
    # By the names alone: another order of the records, another number of them before, change no side.
    more = corpus(tmp_path / "b", [*recordings(3, ["noise"], kind="noise"), *recordings(20, [speaker])[::-1]])
    names = [set(found.columns["id"][sides(found)[1]]) for found in (one, more)]
    assert names[0] == names[1]


def test_whole_speakers_are_held_out_where_there_are_enough(tmp_path):
    one = corpus(tmp_path / "a", recordings(20, [*KEPT[:4], HELD]))
    train, validation = sides(one)
    assert set(one.columns["speaker"][validation]) == {HELD} and len(validation) == 4 and len(train) == 16


@pytest.mark.parametrize("speakers", [[*KEPT[:4], HELD], [HELD]])
def test_a_share_of_the_training_side_is_part_of_a_larger_one_and_leaves_what_is_held_out(tmp_path, speakers):
    one = corpus(tmp_path / "a", recordings(400, speakers))
    train, validation = sides(one)
    before = set(train.tolist())
    for share in (0.5, 0.1):
        some, same = sides(one, training_share=share)
        assert same.tolist() == validation.tolist()
        assert set(some.tolist()) < before and abs(len(some) / len(train) - share) < 0.1
        before = set(some.tolist())
    with pytest.raises(ValueError, match="selection.training_share is 0.0"):
        Selection(training_share=0.0)


@pytest.mark.parametrize(("count", "expected"), [(1, (1, 0)), (2, (1, 1)), (3, (2, 1))])
def test_of_few_noises_neither_side_is_empty(tmp_path, count, expected):
    one = corpus(tmp_path / "a", [Record(id=f"n{i}", audio=b"x", sample_rate=8000, samples=800, kind="noise")
                                  for i in range(count)])  # fmt: skip
    assert tuple(map(len, sides(one, kinds=("noise",), held_out_share=0.2))) == expected


def test_what_the_corpus_holds_out_stays_out_and_is_enough(tmp_path):
    records = [*recordings(10, [KEPT[0]]), *recordings(2, [KEPT[1]], held_out=True)]
    assert [len(side) for side in sides(corpus(tmp_path / "a", records))] == [10, 2]
    assert [len(side) for side in sides(corpus(tmp_path / "a", records), held_out_share=0.0)] == [10, 2]
    # Where it holds out what is of no use, something else is.
    noises = [*recordings(10, [KEPT[0]]), *recordings(2, [KEPT[1]], held_out=True, kind="noise")]
    assert [len(side) for side in sides(corpus(tmp_path / "b", noises))] == [9, 1]


def test_all_of_a_development_set_is_held_out(tmp_path):
    corpus(tmp_path / "dev", recordings(3, [KEPT[1]]))
    one = corpus(tmp_path / "a", recordings(10, [KEPT[0], HELD]), held_out=[tmp_path / "dev"])
    assert sides(one, held_out_share=0.0)[1].tolist() == [10, 11, 12]
    made = config(tmp_path / "a", "ssl_encoder", validation_shards=str(tmp_path / "dev"))
    pipeline = Pipeline(made)
    assert len(pipeline.parts[0]) == 10 and len(pipeline.validation().parts[0]) == 3


def config(folder, stage: str, *tasks: str, **fields) -> PipelineConfig:
    fields = {"recipe": RecipeConfig(min_frames=20, prompt_frames=(20, 40)), "rows": 2} | fields
    parts = tuple(PartConfig(task=task) for task in tasks or ("",))
    example = ExampleConfig(target="wave")
    return PipelineConfig(stage=stage, shards=str(folder), parts=parts, buckets=(200,), example=example, **fields)


def test_both_sides_have_what_a_task_needs(tmp_path):
    """Extraction needs two speakers on either side: as many recordings are held out as bring them."""
    one = corpus(tmp_path / "a", recordings(40, KEPT[:2]))
    pipeline = Pipeline(config(tmp_path / "a", "finetune", "tse"))
    validation = pipeline.validation()
    held = validation.parts[0].items
    assert set(one.columns["speaker"][held]) == set(KEPT[:2])
    assert sorted([*pipeline.parts[0].items, *held]) == list(range(40))
    assert [row.recipe.target.record in held for row in validation.plans[0].rows] == [True, True]


def test_no_task_trains_on_what_another_holds_out(tmp_path):
    # Texts, and so the task tts, are of one speaker; the other tasks have a whole speaker to hold out.
    records = [*recordings(20, [KEPT[0]], text="words"), *recordings(10, [*KEPT[1:3], HELD])]
    one = corpus(tmp_path / "a", records)
    made = config(tmp_path / "a", "finetune", "tts", "se")
    pipeline = Pipeline(made, phonemize=lambda text, language: (1,))
    validation = pipeline.validation()
    spoken, enhanced = (set(part.items.tolist()) for part in validation.parts)
    assert set(one.columns["speaker"][list(spoken)]) == {KEPT[0]}
    assert set(one.columns["speaker"][list(enhanced)]) == {HELD}
    assert not any((spoken | enhanced) & set(part.items.tolist()) for part in pipeline.parts)


def test_a_task_that_can_not_be_validated_is_trained_without(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    corpus(tmp_path / "a", recordings(1, [HELD]))
    pipeline = Pipeline(config(tmp_path / "a", "ssl_encoder"))
    assert len(pipeline.parts[0]) == 1 and pipeline.validation() is None
    assert caplog.messages[-1] == "ssl_encoder: trained without validation, too little to hold out"
    # Three speakers of one recording: enhancement can be validated, extraction can not.
    corpus(tmp_path / "b", recordings(3, KEPT[:3]))
    pipeline = Pipeline(config(tmp_path / "b", "finetune", "tse", "se"))
    assert [part.task for part in pipeline.validation().parts] == ["se"]
    assert "tse: trained without validation, too little to hold out" in caplog.messages


def test_an_empty_side_is_named(tmp_path):
    corpus(tmp_path / "a", recordings(5, [KEPT[0]]))
    made = config(tmp_path / "a", "finetune", "tse")
    with pytest.raises(NoExamples, match="task tse needs two speakers, and its 5 training records are of one"):
        Pipeline(made)
    with pytest.raises(NoExamples, match="no validation records for task tse: of 0 selected"):
        Pipeline(made.for_split("validation"))


def test_noise_that_is_not_recorded_is_said_to_be_so(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    line = "train: no recorded noise in the shards, so speech is degraded with coloured noise alone"
    corpus(tmp_path / "a", recordings(5, [KEPT[0]]))
    Pipeline(config(tmp_path / "a", "finetune", "se"))
    assert line in caplog.messages
    caplog.clear()
    noise = Record(id="n", audio=b"x", sample_rate=8000, samples=800, kind="noise")
    corpus(tmp_path / "b", [*recordings(5, [KEPT[0]]), noise])
    Pipeline(config(tmp_path / "b", "finetune", "se"))
    assert line not in caplog.messages


def test_what_was_left_out_is_said_with_the_bounds(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    corpus(tmp_path / "a", [*recordings(5, [KEPT[0]]), *recordings(2, [KEPT[1]], samples=800)])
    Pipeline(config(tmp_path / "a", "finetune", "se"))
    [line] = [line for line in caplog.messages if line.startswith("se, train")]
    assert line == "se, train: 4 records, 2 left out, of under 0.4 s, or without text, arrays or second utterance"

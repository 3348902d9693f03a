"""Every stage from real shards: keys and shapes, exact order for 1, 2 and 4 processes, exact resume, bad records."""

import dataclasses
import json
import pickle
import shutil

import numpy as np
import pytest
import soundfile
from synthetic_voice import voice

from metis_jax.audio.waves import resample, rms
from metis_jax.clock import SSL_HOP, ssl_frames, ssl_samples
from metis_jax.data.batches.examples import ExampleConfig, UnusableRecord
from metis_jax.data.batches.pipeline import BATCH_KINDS, PartConfig, Pipeline, PipelineConfig
from metis_jax.data.batches.plans import Share
from metis_jax.data.batches.recipes import RecipeConfig
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.corpus import BadRecordLimit, Corpus, Selection, TooManyBadRecords
from metis_jax.data.corpus.prepare import prepare
from metis_jax.sections import from_config_dict, to_dict
from metis_jax.tasks import TASKS

ALL = Selection(split="all")
RECIPE = RecipeConfig(min_frames=20, prompt_frames=(20, 40))


def config(folder, stage, *tasks, **options) -> PipelineConfig:
    parts = tuple(PartConfig(task=task, select=ALL) for task in tasks) or (PartConfig(select=ALL),)
    options = {"rows": 4, "buckets": (60, 120, 240), "block_batches": 4, "recipe": RECIPE} | options
    return PipelineConfig(stage=stage, shards=(str(folder),), parts=parts, **options)


def equal(one, two):
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], two[key], err_msg=key)


def check_padding(batch, key, lengths):
    for row, length in enumerate(batch[lengths]):
        assert not batch[key][row, max(length, 0) :].any(), (key, row)


@pytest.mark.parametrize("stage", ["ssl_encoder", "semantic_codec"])
def test_wave_stages(audio_shards, stage):
    batch = Pipeline(config(audio_shards, stage))[0]
    frames = {ssl_samples(bucket): bucket for bucket in (60, 120, 240)}[batch["wave"].shape[1]]
    assert batch["wave"].dtype == np.float32 and batch["wave"].shape[0] == 4
    assert batch["lengths"].max() <= frames and batch["lengths"].dtype == np.int32
    assert [ssl_frames(int(samples)) for samples in batch["wave_lengths"]] == batch["lengths"].tolist()
    check_padding(batch, "wave", "wave_lengths")
    assert all(rms(row) > 0.01 for row in batch["wave"])


def test_acoustic_codec_crops(audio_shards):
    batch = Pipeline(config(audio_shards, "acoustic_codec", buckets=(25,)))[0]
    assert batch["wave"].shape == (4, 25 * 480) and (batch["wave_lengths"] == 25 * 480).all()
    assert all(rms(row) > 0.01 for row in batch["wave"])


def test_token_stages_hold_crops_of_the_records_tokens(token_shards):
    corpus = Corpus([token_shards])
    known = [corpus[index].arrays for index in range(len(corpus))]
    for stage in ("pretrain", "stage2"):
        pipeline = Pipeline(config(token_shards, stage, buckets=(40, 80)))
        for step in range(3):
            batch = pipeline[step]
            assert batch["tokens"].dtype == np.int32
            check_padding(batch, "tokens", "lengths")
            rows = pipeline.plans[step].rows
            for row, tokens, length in zip(rows, batch["tokens"], batch["lengths"], strict=True):
                piece = row.recipe.target
                cut = slice(piece.start, piece.start + piece.frames)
                np.testing.assert_array_equal(tokens[:length], known[piece.record]["ssl_tokens"][cut])
            if stage == "stage2":
                assert batch["acoustic_tokens"].shape == (*batch["tokens"].shape, 12)
                piece = rows[0].recipe.target
                cut = slice(piece.start, piece.start + piece.frames)
                np.testing.assert_array_equal(
                    batch["acoustic_tokens"][0, : piece.frames], known[piece.record]["acoustic_tokens"][cut]
                )


def test_prompts_of_stage_2_are_heard_degraded_as_often_as_wanted(token_shards):
    base = config(token_shards, "stage2", buckets=(40, 80))
    assert "prompt_tokens" not in Pipeline(base)[0]
    pipeline = Pipeline(dataclasses.replace(base, example=ExampleConfig(degraded_prompts=0.5)))
    names = []
    for step in range(10):
        batch = pipeline[step]
        for row, tokens in zip(pipeline.plans[step].rows, batch["prompt_tokens"], strict=True):
            piece = row.recipe.target
            arrays, cut = pipeline.corpus[piece.record].arrays, slice(piece.start, piece.start + piece.frames)
            [name] = [
                name
                for name in ("acoustic_tokens", "degraded_acoustic_tokens")
                if np.array_equal(tokens[: piece.frames], arrays[name][cut])
            ]
            names.append(name)
    assert 0.3 < np.mean([name == "acoustic_tokens" for name in names]) < 0.7


@pytest.mark.parametrize("target", ["tokens", "wave"])
@pytest.mark.parametrize("task", ["se", "tse", "vc"])
def test_speech_tasks(token_shards, task, target):
    pipeline = Pipeline(config(token_shards, "finetune", task, example=ExampleConfig(target=target)))
    for step in range(2):
        batch = pipeline[step]
        assert (batch["task"] == list(TASKS).index(task)).all() and batch["has_source"].all()
        assert [ssl_frames(int(samples)) for samples in batch["source_lengths"]] == batch["lengths"].tolist()
        check_padding(batch, "source", "source_lengths")
        rows = pipeline.plans[step].rows
        for index, row in enumerate(rows):
            prompt = row.recipe.prompt
            assert batch["lengths"][index] == row.recipe.frames
            assert batch["target_starts"][index] == (prompt.frames if prompt else 0)
            # A prompt encoded alone, as at inference, has a token less than frames in front of the target.
            known = prompt.frames - (target == "wave") if prompt else 0
            assert batch["prompt_lengths"][index] == known
            if task != "se":
                speakers = pipeline.corpus.columns["speaker"]
                assert prompt.record != row.recipe.target.record
                assert speakers[prompt.record] == speakers[row.recipe.target.record]
                assert 20 <= prompt.frames <= 40
        if target == "wave":
            assert batch["target"].shape == batch["source"].shape
            assert ("prompt_wave" in batch) == (task != "se")
            check_padding(batch, "target", "target_lengths")
            for index, start in enumerate(batch["target_starts"]):
                samples, own = 320 * start, batch["target_lengths"][index]
                assert ssl_frames(int(own)) == batch["lengths"][index] - start
                assert samples + own == batch["source_lengths"][index]
                degraded = batch["source"][index, samples : samples + own]
                assert not np.array_equal(degraded, batch["target"][index, :own])
                if task != "se":
                    assert batch["prompt_wave_lengths"][index] == samples
                    assert ssl_frames(int(samples)) == batch["prompt_lengths"][index]
                    np.testing.assert_array_equal(
                        batch["prompt_wave"][index, :samples], batch["source"][index, :samples]
                    )
        else:
            assert batch["tokens"].shape[1] == {ssl_samples(t): t for t in (60, 120, 240)}[batch["source"].shape[1]]
            check_padding(batch, "tokens", "lengths")


def test_target_and_prompt_tokens_stand_where_their_waves_do(token_shards):
    pipeline = Pipeline(config(token_shards, "finetune", "tse"))
    batch, rows = pipeline[0], pipeline.plans[0].rows
    for tokens, row in zip(batch["tokens"], rows, strict=True):
        prompt, target = row.recipe.prompt, row.recipe.target
        expected = [
            pipeline.corpus[piece.record].arrays["ssl_tokens"][piece.start : piece.start + piece.frames]
            for piece in (prompt, target)
        ]
        np.testing.assert_array_equal(tokens[: row.recipe.frames], np.concatenate(expected))


def test_tts_takes_whole_utterances_with_phones(token_shards):
    pipeline = Pipeline(config(token_shards, "finetune", "tts"))
    batch = pipeline[0]
    assert "source" not in batch and (batch["prompt_lengths"] == -1).all()
    assert batch["phones"].shape == (4, 512) and (batch["phone_lengths"] == 12).all()
    for row in pipeline.plans[0].rows:
        assert row.recipe.target.frames == pipeline.corpus.columns["length_ssl_tokens"][row.recipe.target.record]


def test_tts_can_make_phones_from_text(audio_shards):
    heard = []

    def phonemize(text, language):
        heard.append((text, language))
        return [1 + int(text[-1])] * 3

    wave = ExampleConfig(target="wave", max_phones=8)
    batch = Pipeline(config(audio_shards, "finetune", "tts", example=wave), phonemize=phonemize)[0]
    assert batch["phones"].shape == (4, 8) and (batch["phone_lengths"] == 3).all() and batch["target"].any()
    assert all(language == "en" and text.startswith("utterance") for text, language in heard)
    with pytest.raises(ValueError, match="no records for task tts"):
        Pipeline(config(audio_shards, "finetune", "tts", example=wave))


@pytest.mark.parametrize("task", ["tts", "l2s"])
def test_tasks_without_a_recording_need_no_audio(token_shards, tmp_path, task):
    for path in shards.find_shards([token_shards]):
        shards.write_shard(
            tmp_path / path.name, [dataclasses.replace(record, audio=b"") for record in shards.read_shard(path)]
        )
    with_audio, without = (Pipeline(config(place, "finetune", task))[0] for place in (token_shards, tmp_path))
    assert with_audio["tokens"].any()
    np.testing.assert_array_equal(with_audio["tokens"], without["tokens"])
    with pytest.raises(ValueError, match="no records for task se"):
        Pipeline(config(tmp_path, "finetune", "se"))


def test_lip_reading_takes_the_features_of_the_target(token_shards):
    pipeline = Pipeline(config(token_shards, "finetune", "l2s", example=ExampleConfig(target="wave")))
    batch, rows = pipeline[0], pipeline.plans[0].rows
    assert batch["visual"].shape == (4, -(-pipeline.plans[0].frames // 2), 8)
    for row, length, features in zip(rows, batch["visual_lengths"], batch["visual"], strict=True):
        piece = row.recipe.target
        known = pipeline.corpus[piece.record].arrays["visual_features"]
        np.testing.assert_allclose(features[:length], known[piece.start // 2 :][:length])


def test_lip_reading_takes_the_mouths_of_the_target(token_shards):
    seen = ExampleConfig(target="wave", lips="crops", crop_size=16)
    pipeline = Pipeline(config(token_shards, "finetune", "l2s", example=seen))
    batch, rows = pipeline[0], pipeline.plans[0].rows
    assert batch["mouths"].shape == (4, -(-pipeline.plans[0].frames // 2), 16, 16)
    assert batch["mouths"].dtype == np.uint8 and "visual" not in batch
    np.testing.assert_array_equal(batch["mouths"], Pipeline(pipeline.config)[0]["mouths"])
    for row, length, crops in zip(rows, batch["visual_lengths"], batch["mouths"], strict=True):
        piece = row.recipe.target
        known = pipeline.corpus[piece.record].arrays["mouth_crops"][piece.start // 2 :][:length]
        cuts = [known[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
        assert any(np.array_equal(crops[:length], cut[:, :, ::step]) for cut in cuts for step in (1, -1))
        assert not crops[length:].any()
    large = Pipeline(config(token_shards, "finetune", "l2s", example=dataclasses.replace(seen, crop_size=24))).material
    record = pipeline.corpus[piece.record]
    with pytest.raises(UnusableRecord, match=r"mouth_crops are uint8\[20, 20\]; expected uint8 from 24 on"):
        large.lips(record, piece, np.random.default_rng(0))


def test_crops_of_lip_reading_start_with_a_video_frame(token_shards):
    made = config(token_shards, "finetune", "l2s", buckets=(40, 41), example=ExampleConfig(target="wave"))
    pipeline = Pipeline(made)
    starts = [row.recipe.target.start for step in range(20) for row in pipeline.plans[step].rows]
    assert not any(start % 2 for start in starts) and len(set(starts)) > 10


def test_omni_mixes_tasks_by_weight_under_one_set_of_keys(token_shards):
    weights = {"tts": 4.0, "vc": 1.0, "tse": 2.0, "se": 1.0}
    parts = tuple(PartConfig(task=task, weight=weight, select=ALL) for task, weight in weights.items())
    base = config(token_shards, "finetune", "se", rows=8, example=ExampleConfig(text_guided=0.5))
    pipeline = Pipeline(dataclasses.replace(base, parts=parts))
    assert {"tokens", "source", "has_source", "phones", "source_lengths"} <= pipeline[0].keys()
    batch = pipeline[0]
    tts = batch["task"] == list(TASKS).index("tts")
    assert (batch["has_source"] == ~tts).all() and not batch["source"][tts].any()
    assert (batch["source_lengths"][tts] == 0).all() and (batch["phone_lengths"][tts] > 0).all()
    tasks = [list(TASKS).index(row.recipe.task) for step in range(50) for row in pipeline.plans[step].rows]
    np.testing.assert_allclose(np.bincount(tasks, minlength=4)[:4] / 400, [1 / 8, 2 / 8, 1 / 8, 4 / 8], atol=0.02)


def test_a_guiding_text_begins_with_a_prompt_that_is_whole(token_shards):
    """The fixture has twelve phones a recording: twice as many say prompt and target, as at inference."""
    recipe = dataclasses.replace(RECIPE, prompt_frames=(20, 240))
    base = config(token_shards, "finetune", "tse", buckets=(120, 480), example=ExampleConfig(text_guided=1.0))
    pipeline = Pipeline(dataclasses.replace(base, recipe=recipe))
    frames, counts = pipeline.parts[0]._frames, []
    for step in range(8):
        batch, rows = pipeline[step], pipeline.plans[step].rows
        given = (batch[name] for name in ("phones", "phone_bounds", "phone_lengths"))
        for row, phones, bounds, count in zip(rows, *given, strict=True):
            prompt, target = row.recipe.prompt, row.recipe.target
            said = [prompt, target] if row.recipe.is_whole_prompt else [target]
            expected = [pipeline.corpus[piece.record].arrays for piece in said]
            np.testing.assert_array_equal(phones[:count], np.concatenate([arrays["phones"] for arrays in expected]))
            # Each says when it begins and ends, in frames of the example: the target behind the prompt.
            ends = [50 * arrays["phone_bounds"] for arrays in expected]
            ends[-1] = ends[-1] + prompt.frames
            np.testing.assert_allclose(bounds[: count + 1], np.concatenate([*(x[:-1] for x in ends), ends[-1][-1:]]))
            assert not np.any(bounds[count + 1 :])
            assert not row.recipe.is_whole_prompt or prompt.frames == frames[prompt.record]
            counts.append(len(said))
    assert 0.2 < np.mean(np.asarray(counts) == 2) < 0.8


def test_text_guided_extraction_gives_phones_to_the_stated_share(token_shards):
    pipeline = Pipeline(config(token_shards, "finetune", "tse", example=ExampleConfig(text_guided=0.5)))
    given = np.concatenate([pipeline[step]["phone_lengths"] > 0 for step in range(20)])
    assert 0.3 < given.mean() < 0.7


@pytest.mark.parametrize("task", ["se", "tse", "vc"])
def test_the_global_batch_is_the_same_for_1_2_and_4_processes(audio_shards, task):
    made = config(audio_shards, "finetune", task, example=ExampleConfig(target="wave"))
    whole = [Pipeline(made)[step] for step in range(2)]
    for count in (2, 4):
        parts = [Pipeline(made, share=Share((index,), count)) for index in range(count)]
        for step in range(2):
            local = [part[step] for part in parts]
            equal(whole[step], {key: np.concatenate([one[key] for one in local]) for key in whole[step]})
    apart = Pipeline(made, share=Share((0, 3), 4))
    equal({key: rows[[0, 3]] for key, rows in whole[0].items()}, apart[0])


def test_a_run_stopped_anywhere_goes_on_exactly(audio_shards):
    made = config(audio_shards, "finetune", "se", rows=(4, 2, 2), example=ExampleConfig(target="wave"))
    straight = Pipeline(made).iterator()
    batches = [next(straight) for _ in range(9)]
    straight.close()
    for stop, threads in ((0, 0), (3, 2), (7, 4)):
        first = Pipeline(dataclasses.replace(made, threads=threads)).iterator()
        for step in range(stop):
            equal(next(first), batches[step])
        state = json.loads(json.dumps(first.get_state()))
        first.close()
        assert state["step"] == stop
        # Another process, with another number of threads, on devices that would have had other batches.
        second = Pipeline(dataclasses.replace(made, threads=1, prefetch=2, rows=8)).with_rows(state["rows"]).iterator()
        second.set_state(state)
        for step in range(stop, 9):
            equal(next(second), batches[step])
        second.close()


def test_a_state_of_other_data_is_refused(audio_shards):
    state = Pipeline(config(audio_shards, "ssl_encoder")).iterator().get_state()
    other = Pipeline(config(audio_shards, "ssl_encoder", seed=1)).iterator()
    with pytest.raises(ValueError, match="fingerprint"):
        other.set_state(state)
    with pytest.raises(ValueError, match=r"step, block and place \[-1, 0, 0\]"):
        other.set_state(state | {"step": -1})
    with pytest.raises(ValueError, match=r"batches of \[8, 4, 2\] rows, this pipeline makes \[4, 4, 4\]"):
        other.set_state(state | {"rows": [8, 4, 2]})


def test_seeds_and_epochs_differ(audio_shards):
    one, two = (Pipeline(config(audio_shards, "ssl_encoder", seed=seed)) for seed in (0, 1))
    records = [[row.recipe.target.record for row in pipeline.plans[0].rows] for pipeline in (one, two)]
    assert records[0] != records[1]
    noisy = config(audio_shards, "finetune", "se", example=ExampleConfig(target="wave"))
    pipeline = Pipeline(noisy)
    # The same recording comes again with another degradation.
    found: dict[int, list[np.ndarray]] = {}
    for step in range(24):
        for row in pipeline.plans[step].rows:
            if row.recipe.target.frames == pipeline.parts[0]._frames[row.recipe.target.record]:
                found.setdefault(row.recipe.target.record, []).append(
                    BATCH_KINDS["finetune"].example(pipeline.material, row)["source"]
                )
    again = [waves for waves in found.values() if len(waves) > 1]
    assert again and not any(np.array_equal(waves[0], waves[1]) for waves in again)


def test_held_out_speakers_and_licences_stay_out(audio_shards):
    select = Selection(exclude_licenses=("by-sa",), held_out_share=0.3)
    made = dataclasses.replace(config(audio_shards, "ssl_encoder"), parts=(PartConfig(select=select),))
    train, validation = Pipeline(made), Pipeline(made.for_split("validation"))
    speakers = [set(one.corpus.columns["speaker"][one.parts[0].items]) for one in (train, validation)]
    assert not speakers[0] & speakers[1]
    assert speakers[0] | speakers[1] == {f"s{index}" for index in range(1, 10)}  # s0 is CC BY-SA


def test_a_part_has_the_recordings_of_its_sources(audio_shards):
    corpus = Corpus([audio_shards])

    def speakers(*sources, **more):
        found = corpus.select(Selection(sources=sources, split="all", **more))
        return set(corpus.columns["speaker"][found])

    prompts, books = {"s0", "s1"}, {f"s{index}" for index in range(2, 10)}
    assert speakers("telephone") == prompts and speakers("BOOKS") == books
    assert speakers() == speakers("prompts", "read aloud") == prompts | books
    assert speakers("telephone", exclude_licenses=("by-sa",)) == {"s1"} and not speakers("radio")


def test_validation_hears_other_noises_than_training(audio_shards):
    """The one room is that of both: no side goes without."""
    made = config(audio_shards, "finetune", "se", example=ExampleConfig(target="wave"))
    made = dataclasses.replace(made, parts=(PartConfig(task="se", select=Selection(held_out_share=0.3)),))
    train = Pipeline(made)
    validation = train.validation()
    sides = [set(one.corpus.columns["id"][one.material.noises]) for one in (train, validation)]
    assert all(sides) and not sides[0] & sides[1] and sides[0] | sides[1] == {"noise0", "noise1", "noise2"}
    rooms = [one.corpus.columns["id"][one.material.rooms].tolist() for one in (train, validation)]
    assert rooms == [["room"], ["room"]]


def test_a_lone_utterance_is_split_into_prompt_and_target(audio_shards, tmp_path):
    records = [record for path in shards.find_shards([audio_shards]) for record in shards.read_shard(path)]
    own = [dataclasses.replace(record, speaker=record.id) for record in records if record.kind == "speech"]
    shards.write_shard(tmp_path / "x.array_record", own)
    made = config(tmp_path, "finetune", "tse", example=ExampleConfig(target="wave"))
    pipeline = Pipeline(made)
    pipeline[0]
    for row in pipeline.plans[0].rows:
        prompt, target = row.recipe.prompt, row.recipe.target
        assert prompt.record == target.record
        assert prompt.start + prompt.frames <= target.start or target.start + target.frames <= prompt.start
    with pytest.raises(ValueError, match="no records for task tse"):
        Pipeline(dataclasses.replace(made, recipe=dataclasses.replace(RECIPE, allow_split=False)))


def test_source_audio_of_a_manifest_is_what_conversion_starts_from(tmp_path):
    """Files beside the manifest, at a rate of their own and a little longer, as a converter leaves them."""
    (tmp_path / "converted").mkdir()
    rows = []
    for index in range(4):
        name = f"s{index // 2}_{index % 2}"
        soundfile.write(tmp_path / f"{name}.wav", voice(index, 2.0), 16_000)
        soundfile.write(tmp_path / "converted" / f"{name}.wav", voice(10 + index, 2.015, 24_000), 24_000)
        rows.append({"path": f"{name}.wav", "speaker": name[:2], "source_audio": f"converted/{name}.wav"})
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert prepare(manifest, tmp_path / "shards")["records"] == 4

    pipeline = Pipeline(config(tmp_path / "shards", "finetune", "vc", example=ExampleConfig(target="wave")))
    batch = pipeline[0]
    for row, source, heard, length in zip(
        pipeline.plans[0].rows, batch["source"], batch["prompt_wave"], batch["source_lengths"], strict=True
    ):
        prompt, piece = row.recipe.prompt, row.recipe.target
        start = SSL_HOP * prompt.frames
        converted, rate = soundfile.read(tmp_path / "converted" / f"{pipeline.corpus.name(piece.record)}.wav")
        expected = resample(converted, rate, 16_000)[SSL_HOP * piece.start :][: length - start]
        np.testing.assert_allclose(source[start:length], expected, atol=1e-3)
        np.testing.assert_array_equal(source[:start], heard[:start])


def _corrupted(audio_shards, folder, ids):
    """The shards with the audio of some records cut off."""
    for path in shards.find_shards([audio_shards]):
        records = [
            dataclasses.replace(record, audio=record.audio[:60]) if record.id in ids else record
            for record in shards.read_shard(path)
        ]
        shards.write_shard(folder / path.name, records)


def test_bad_records_are_skipped_counted_and_replaced_alike_everywhere(audio_shards, tmp_path, caplog):
    bad = {"s1_0", "s2_1", "s3_2"}
    _corrupted(audio_shards, tmp_path, bad)
    made = config(tmp_path, "ssl_encoder", bad_records=BadRecordLimit(count=5))
    pipeline = Pipeline(made)
    whole = [pipeline[step] for step in range(12)]  # more than one epoch of 40
    assert pipeline.guard.bad.keys() == bad
    assert pipeline.guard.skipped >= 3 and pipeline.guard.read >= 48
    assert {name for name in bad if any(name in entry.getMessage() for entry in caplog.records)} == bad
    assert all(rms(row) > 0.01 for batch in whole for row in batch["wave"])
    parts = [Pipeline(made, share=Share((index,), 2)) for index in range(2)]
    for step in range(12):
        local = [part[step] for part in parts]
        equal(whole[step], {key: np.concatenate([one[key] for one in local]) for key in whole[step]})
    with pytest.raises(TooManyBadRecords, match="3 bad records"):
        strict = Pipeline(dataclasses.replace(made, bad_records=BadRecordLimit(count=2, share=0.0))).iterator()
        for _ in range(12):
            next(strict)


def test_bytes_flipped_on_disk_are_a_skipped_record(audio_shards, tmp_path):
    shutil.copytree(audio_shards, tmp_path / "x")
    path = shards.find_shards([tmp_path / "x"])[0]
    target = next(record for record in shards.read_shard(path) if record.kind == "speech")
    data = bytearray(path.read_bytes())
    place = data.find(target.audio) + len(target.audio) // 2
    data[place : place + 8] = b"\0\1\2\3\4\5\6\7"
    path.write_bytes(data)
    pipeline = Pipeline(config(tmp_path / "x", "ssl_encoder"))
    for step in range(15):
        pipeline[step]
    assert list(pipeline.guard.bad) == [target.id]


def test_a_wrong_sample_rate_in_a_record_is_caught(audio_shards, tmp_path):
    records = [record for path in shards.find_shards([audio_shards]) for record in shards.read_shard(path)]
    wrong = [dataclasses.replace(one, sample_rate=24_000) if one.id == "s1_0" else one for one in records]
    shards.write_shard(tmp_path / "x.array_record", wrong)
    pipeline = Pipeline(config(tmp_path, "ssl_encoder"))
    for step in range(15):
        pipeline[step]
    assert "audio at 16000 Hz, the record says sample_rate 24000" in pipeline.guard.bad["s1_0"]


def test_bounds_that_do_not_fit_the_phones_make_a_bad_record(token_shards, tmp_path):
    records = [record for path in shards.find_shards([token_shards]) for record in shards.read_shard(path)]
    short = {"phone_bounds": np.array([0.1, 0.5], np.float32)}
    wrong = [dataclasses.replace(one, arrays={**one.arrays, **short}) if one.id == "s1_0" else one for one in records]
    shards.write_shard(tmp_path / "x.array_record", wrong)
    pipeline = Pipeline(config(tmp_path, "finetune", "tts"))
    for step in range(15):
        pipeline[step]
    assert pipeline.guard.bad == {"s1_0": "s1_0: 2 phone_bounds for 12 phones; expected one more"}


def test_kept_waves_change_nothing(audio_shards):
    made = config(audio_shards, "finetune", "tse", example=ExampleConfig(target="wave"))
    plain, kept = Pipeline(made), Pipeline(dataclasses.replace(made, cached_seconds=30.0))
    for step in range(4):
        equal(plain[step], kept[step])
    assert 0 < sum(len(wave) for wave in kept.material.waves._cache.values()) <= 30 * 16_000
    assert plain.fingerprint == kept.fingerprint


def test_a_pipeline_can_go_to_a_worker(audio_shards):
    pipeline = Pipeline(config(audio_shards, "finetune", "se", example=ExampleConfig(target="wave")))
    equal(pickle.loads(pickle.dumps(pipeline))[1], pipeline[1])


@pytest.mark.slow
def test_worker_processes_give_the_same_batches(audio_shards):
    made = config(audio_shards, "ssl_encoder")
    pipeline = Pipeline(made)
    workers = Pipeline(dataclasses.replace(made, workers=2)).iterator()
    for step in range(6):
        equal(next(workers), pipeline[step])
    assert workers.get_state()["step"] == 6
    workers.close()


def test_a_config_goes_through_json_and_misspelt_keys_are_named(audio_shards):
    made = config(audio_shards, "finetune", "se", "vc")
    assert from_config_dict(PipelineConfig, json.loads(json.dumps(to_dict(made)))) == made
    with pytest.raises(ValueError, match="'bach_size'"):
        from_config_dict(PipelineConfig, to_dict(made) | {"bach_size": 3})
    for fields, message in (
        ({"stage": "train"}, "stage is 'train'"),
        ({"parts": ()}, "parts is empty"),
        ({"parts": ({"task": "sing"},)}, "task is 'sing'"),
        ({"parts": ({"tsk": "se"},)}, "'tsk'"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(made, **fields)

"""Shards, selections and the guard, on real files: truncated, corrupted, foreign, stale."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from metis_jax.data.corpus import shards
from metis_jax.data.corpus.corpus import (
    BadRecordGuard,
    BadRecordLimit,
    Corpus,
    Selection,
    TooManyBadRecords,
    is_held_out,
)
from metis_jax.data.corpus.records import Record, RecordError


def record(index: int, **fields) -> Record:
    audio = np.random.default_rng(index).bytes(2000)
    return Record(id=f"r{index:03d}", audio=audio, sample_rate=16_000, samples=32_000, **fields)


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / shards.shard_name(0, 1)
    shards.write_shard(path, [record(index, speaker=f"s{index % 5}") for index in range(30)])
    return path


def corrupt(path, record_index: int) -> None:
    """Overwrites bytes in the middle of one record."""
    data = bytearray(path.read_bytes())
    place = data.find(np.random.default_rng(record_index).bytes(2000)) + 900
    data[place : place + 20] = bytes(20)
    path.write_bytes(data)


def test_shards_come_back_in_order(shard):
    corpus = Corpus([shard.parent])
    assert len(corpus) == 30
    assert [corpus[index].id for index in range(30)] == [f"r{index:03d}" for index in range(30)]
    assert [one.id for one in shards.read_shard(shard)] == corpus.columns["id"].tolist()
    assert not list(shard.parent.glob(".*.partial"))


def test_a_shard_without_index_is_read_through(shard):
    before = Corpus([shard])
    shards.index_path(shard).unlink()
    after = Corpus([shard])
    assert before.fingerprint() == after.fingerprint()
    assert {name: column.tolist() for name, column in before.columns.items()} == {
        name: column.tolist() for name, column in after.columns.items()
    }


def test_one_corrupt_record_leaves_the_others(shard):
    corrupt(shard, 7)
    corpus = Corpus([shard])
    for index in range(30):
        if index == 7:
            with pytest.raises(RecordError, match="part-00000-of-00001.array_record record 7"):
                corpus[index]
        else:
            assert corpus[index].id == f"r{index:03d}"


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-5000])


def _empty(path):
    path.write_bytes(b"")


def _foreign(path):
    path.write_bytes(b"RIFF" * 5000)


def _stale_index(path):
    index = json.loads(shards.index_path(path).read_text())
    index["columns"] = {name: column[:-1] for name, column in index["columns"].items()}
    shards.index_path(path).write_text(json.dumps(index))


def _broken_index(path):
    shards.index_path(path).write_text('{"version": 1, "columns"')


def _old_index(path):
    index = json.loads(shards.index_path(path).read_text())
    shards.index_path(path).write_text(json.dumps(index | {"version": 0}))


def _short_index(path):
    index = json.loads(shards.index_path(path).read_text())
    del index["columns"]["license"]
    shards.index_path(path).write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "truncated"),
        (_empty, "truncated, or not an ArrayRecord"),
        (_foreign, "not an ArrayRecord"),
        (lambda path: path.unlink(), "no such shard"),
        (_stale_index, "index of 29 records beside a shard of 30"),
        (_broken_index, "broken index"),
        (_old_index, "index version 0"),
        (_short_index, r"without \['license'\]"),
    ],
)
def test_a_damaged_shard_is_named(shard, damage, message):
    damage(shard)
    with pytest.raises(shards.ShardError, match=message) as caught:
        Corpus([shard])
    assert "part-00000-of-00001" in str(caught.value)


def test_an_index_from_before_an_array_was_known_has_none_of_it(shard):
    index = json.loads(shards.index_path(shard).read_text())
    for name in ("length_phone_bounds", "length_degraded_acoustic_tokens"):
        del index["columns"][name]
    shards.index_path(shard).write_text(json.dumps(index))
    assert not Corpus([shard]).columns["length_phone_bounds"].any()
    del index["columns"]["length_ssl_tokens"]
    shards.index_path(shard).write_text(json.dumps(index))
    with pytest.raises(shards.ShardError, match=r"without \['length_ssl_tokens'\]"):
        Corpus([shard])


def test_folders_without_shards_are_named(tmp_path):
    with pytest.raises(shards.ShardError, match="no .*array_record file"):
        Corpus([tmp_path])
    with pytest.raises(shards.ShardError, match="no shards given"):
        Corpus([])


def test_a_failed_write_leaves_nothing(tmp_path):
    def records():
        yield record(0)
        raise RecordError("the second one is bad")

    with pytest.raises(RecordError):
        shards.write_shard(tmp_path / "x.array_record", records())
    with pytest.raises(shards.ShardError, match="can not be written"):
        shards.write_shard(tmp_path / "no" / "x.array_record", [record(0)])
    assert not list(tmp_path.iterdir())


def test_selections(tmp_path):
    records = [
        record(0, speaker="a", license="CC BY-SA 3.0", language="en"),
        record(1, speaker="a", license="CC BY 4.0", language="de"),
        record(2, speaker="b", license="CC BY-NC 4.0", language="en", condition="noisy"),
        record(3, speaker="c", license="CC0", language="en", held_out=True),
        record(4, kind="noise"),
        dataclasses.replace(record(5, speaker="d", language="en"), samples=160_000),
    ]
    shards.write_shard(tmp_path / "x.array_record", records)
    corpus = Corpus([tmp_path])

    def chosen(**fields):
        return corpus.select(Selection(**({"split": "all"} | fields))).tolist()

    assert chosen() == [0, 1, 3, 5]
    assert chosen(exclude_licenses=("by-sa", "-NC")) == [1, 3, 5]
    assert chosen(languages=("de",)) == [1]
    assert chosen(conditions=("noisy",)) == [2]
    assert chosen(kinds=("noise",)) == [4]
    assert chosen(max_seconds=5.0) == [0, 1, 3] and chosen(min_seconds=5.0) == [5]
    assert chosen(split="train", held_out_share=0.0) == [0, 1, 5]
    assert chosen(split="validation", held_out_share=0.0) == [3]
    with pytest.raises(ValueError, match="selection.split is 'test'"):
        Selection(split="test")


def test_the_speaker_split_is_by_whole_speakers_and_never_moves(shard):
    corpus = Corpus([shard])
    for share in (0.2, 0.5):
        train = corpus.select(Selection(held_out_share=share))
        validation = corpus.select(Selection(split="validation", held_out_share=share))
        assert sorted([*train, *validation]) == list(range(30))
        assert not set(corpus.columns["speaker"][train]) & set(corpus.columns["speaker"][validation])
    names = [f"speaker{index}" for index in range(5000)]
    held = {name for name in names if is_held_out(name, 0.05, 0)}
    assert abs(len(held) / 5000 - 0.05) < 0.01
    # A larger share holds out the same speakers and more; another seed, others.
    assert held <= {name for name in names if is_held_out(name, 0.1, 0)}
    assert held != {name for name in names if is_held_out(name, 0.05, 1)}
    # Known by heart: a changed hash would move speakers from validation into training.
    assert [is_held_out(name, 0.5, 0) for name in ("p225", "p226", "103", "1034")] == [True, True, False, False]


def test_the_guard_counts_logs_once_and_stops(caplog):
    guard = BadRecordGuard(BadRecordLimit(count=2, share=0.1))
    for _ in range(5):
        guard.skip("one", "broken")
    guard.skip("two", "broken")
    assert guard.skipped == 6 and guard.bad == {"one": "broken", "two": "broken"}
    assert [message.getMessage() for message in caplog.records] == [
        "skipped bad record one: broken",
        "skipped bad record two: broken",
    ]
    with pytest.raises(TooManyBadRecords, match="3 bad records.*three: gone"):
        guard.skip("three", "gone")
    patient = BadRecordGuard(BadRecordLimit(count=2, share=0.1))
    for index in range(100):
        for _ in range(20):
            patient.good()
        patient.skip(f"r{index}", "broken")
    assert patient.skipped == 100


def test_copies_of_a_shard_have_the_same_fingerprint(shard, tmp_path):
    other = tmp_path / "copy"
    shutil.copytree(shard.parent, other, ignore=shutil.ignore_patterns("copy"))
    assert Corpus([other]).fingerprint() == Corpus([shard]).fingerprint()
    shards.write_shard(other / shard.name, [record(index, speaker="s0") for index in range(30)])
    assert Corpus([other]).fingerprint() != Corpus([shard]).fingerprint()


def test_recordings_of_a_low_rate_are_left_out_where_asked(tmp_path):
    rates = (8_000, 16_000, 24_000, 48_000)
    records = [dataclasses.replace(record(index), sample_rate=rate) for index, rate in enumerate(rates)]
    shards.write_shard(tmp_path / "x.array_record", records)
    corpus = Corpus([tmp_path])
    assert corpus.select(Selection(split="all")).tolist() == [0, 1, 2, 3]
    assert corpus.select(Selection(split="all", min_sample_rate=24_000)).tolist() == [2, 3]

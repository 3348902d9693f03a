"""Columns of an index say what its tables say, and all that is computed from them is what it was from plain arrays."""

import hashlib
import json
import weakref

import numpy as np
import pytest

from metis_jax.data.corpus import corpus as corpus_module
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.columns import Columns, Labels, narrow
from metis_jax.data.corpus.corpus import Corpus, Selection, is_held_out
from metis_jax.data.corpus.records import ARRAYS, Record
from metis_jax.weights.identity import ENCODERS

# What an earlier version, whose columns were arrays of wide texts, said of `write`.
KNOWN = "e4d60db01dc2048a"


def record(index: int, **fields) -> Record:
    given = {"id": f"r{index}", "audio": b"x", "sample_rate": 16_000, "samples": 16_000 + 700 * index} | fields
    return Record(**given)


RECORDS = (
    [
        record(0, speaker="älter", language="de", license="CC BY-SA 3.0", source="Bücher, vorgelesen"),
        record(1, id="テスト/一", speaker="母", language="ja", text="はい", license="CC BY 4.0"),
        record(2, speaker="älter", language="de", condition="noisy", held_out=True),
        record(3, id="älter", arrays={"ssl_tokens": np.zeros(40_000, np.uint16)}),  # as a speaker is called
    ],
    [
        record(4, kind="noise", sample_rate=48_000),
        record(5, id="😀", speaker="late", license="CC BY-NC 4.0", encoders={"ssl_encoder": "0f0f"}),
        record(6, audio=b"", speaker="母", source_audio=b"y", arrays={"phones": np.zeros(3, np.int32)}),
    ],
    [record(index, speaker=f"s{index % 9}", samples=50_000) for index in range(7, 40)]
    + [record(index, speaker="", samples=2**31 + index) for index in range(40, 60)],
)


def write(folder) -> None:
    for index, some in enumerate(RECORDS):
        shards.write_shard(folder / shards.shard_name(index, len(RECORDS)), some)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path)
    return tmp_path


def plain_columns(folders) -> dict[str, np.ndarray]:
    """Arrays of all values, texts as wide as the widest."""
    tables = [shards.read_index(path) for folder in folders for path in shards.find_shards([folder])]
    return {name: np.asarray([value for table in tables for value in table[name]]) for name in tables[0]}


def plain_fingerprint(columns: dict[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    made = (*(f"length_{array}" for array in ARRAYS), *(f"identity_{name}" for name in ENCODERS))
    for name in ("id", "samples", "speaker", "license", *made):
        digest.update("\0".join(map(str, columns[name].tolist())).encode())
    return digest.hexdigest()


def test_every_column_says_what_the_tables_say(folder):
    columns, plain = Corpus([folder]).columns, plain_columns([folder])
    assert columns.keys() == plain.keys()
    some = np.asarray([58, 0, 4, 0])
    for name, column in columns.items():
        expected = plain[name].tolist()
        assert column.tolist() == expected and len(column) == len(expected) == 60
        assert [column[index] for index in (0, 5, 59, -1)] == [expected[index] for index in (0, 5, 59, -1)]
        assert column[3:6].tolist() == expected[3:6] and column[60:].tolist() == []
        assert column[some].tolist() == column[some.tolist()].tolist() == plain[name][some].tolist()
        assert column[plain["has_text"]].tolist() == [expected[1]]
        with pytest.raises(IndexError):
            column[60]


def test_types_are_the_narrowest_that_are_right(folder):
    corpus = Corpus([folder])
    columns = corpus.columns
    types = {name: columns[name].dtype for name in ("samples", "sample_rate", "length_ssl_tokens", "length_phones")}
    assert types == {"samples": "i8", "sample_rate": "i4", "length_ssl_tokens": "i4", "length_phones": "i2"}
    assert {columns[name].dtype for name in ("held_out", "has_text", "has_audio", "has_source_audio")} == {
        np.dtype(bool)
    }
    assert columns["speaker"].codes.dtype == columns["license"].codes.dtype == np.uint8
    assert corpus.seconds.dtype == np.float64 and corpus.seconds[59] == (2**31 + 59) / 16_000
    # Short enough for int16, of which a quotient would be float32.
    short = [record(index, speaker=f"x{index}", samples=1000 + index) for index in range(300)]
    shards.write_shard(folder / "x.array_record", short)
    one = Corpus([folder / "x.array_record"])
    assert one.columns["samples"].dtype == one.columns["sample_rate"].dtype == np.int32
    assert one.seconds.dtype == np.float64 and one.seconds[77] == 1077 / 16_000
    assert one.columns["speaker"].codes.dtype == np.uint16
    # Codes of one byte and of two, one behind the other.
    first = [folder / shards.shard_name(index, 3) for index in range(3)]
    both = Corpus([*first, folder / "x.array_record"]).columns["speaker"]
    assert both.tolist() == [*columns["speaker"].tolist(), *(f"x{index}" for index in range(300))]


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [([], "i2"), ([0, 32767], "i2"), ([32768], "i4"), ([-32769], "i4"), ([2**31 - 1], "i4"), ([2**31], "i8")],
)
def test_numbers_are_narrowed_only_as_far_as_they_fit(numbers, kind):
    found = narrow(np.asarray(numbers, np.int64), np.int16)
    assert found.dtype == kind and found.tolist() == numbers
    assert narrow(np.asarray([1], np.int64), np.int32).dtype == np.int32


def test_the_fingerprint_is_that_of_plain_columns(folder, monkeypatch):
    corpus = Corpus([folder])
    assert corpus.fingerprint() == plain_fingerprint(plain_columns([folder])) == KNOWN
    for count in (1, 7, 59, 60):
        monkeypatch.setattr(corpus_module, "_AT_ONCE", count)
        assert corpus.fingerprint() == KNOWN


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kinds": ("noise", "speech"), "conditions": ("noisy", "")},
        {"kinds": ()},
        {"languages": ("ja", "")},
        {"sources": ("BÜCHER",), "languages": ("de", "fr")},
        {"exclude_licenses": ("by-sa", "-NC")},
        {"min_sample_rate": 16_001, "kinds": ("noise",)},
        {"min_seconds": 1.1, "max_seconds": 4.0},
    ],
)
def test_selections_are_those_of_plain_columns(folder, fields):
    corpus, plain, selection = Corpus([folder]), plain_columns([folder]), Selection(split="all", **fields)
    seconds = plain["samples"] / plain["sample_rate"]

    def contains(texts, parts):
        return np.asarray([any(part.lower() in text.lower() for part in parts) for text in texts.tolist()], bool)

    keep = np.isin(plain["kind"], selection.kinds) & np.isin(plain["condition"], selection.conditions)
    keep &= np.isin(plain["language"], selection.languages) if selection.languages else True
    keep &= contains(plain["source"], selection.sources) if selection.sources else True
    keep &= ~contains(plain["license"], selection.exclude_licenses)
    keep &= (plain["sample_rate"] >= selection.min_sample_rate) & (seconds >= selection.min_seconds)
    keep &= seconds <= selection.max_seconds
    assert corpus.select(selection).tolist() == np.flatnonzero(keep).tolist()


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("way", [0, 1])
def test_sides_of_a_split_are_those_of_plain_columns(folder, share, seed, way):
    corpus, plain = Corpus([folder]), plain_columns([folder])
    names = [np.where(plain["speaker"] != "", plain["speaker"], plain["id"]), plain["id"]][way].tolist()
    held = np.asarray([is_held_out(name, share, seed) for name in names]) | plain["held_out"]
    speech = np.isin(plain["kind"], ["speech"]) & np.isin(plain["condition"], ["", "clean"])
    asked = []

    def serves(train, validation):
        asked.append((train, validation))
        return len(asked) == way + 1

    split = corpus.split(Selection(held_out_share=share, split_seed=seed), serves)
    assert split.train.tolist() == np.flatnonzero(speech & ~held).tolist()
    assert split.validation.tolist() == np.flatnonzero(speech & held).tolist()


def test_a_record_without_a_speaker_speaks_for_itself(folder, tmp_path):
    corpus, plain = Corpus([folder]), plain_columns([folder])
    names = np.where(plain["speaker"] != "", plain["speaker"], plain["id"])
    assert ((corpus.speakers[:, None] == corpus.speakers) == (names[:, None] == names)).all()
    assert corpus.speakers[3] == corpus.speakers[0] and len(set(corpus.speakers.tolist())) == len(set(names.tolist()))
    assert corpus.columns["speaker"].tolist() == plain["speaker"].tolist()
    spoken = Corpus([folder / shards.shard_name(1, 3), folder / shards.shard_name(0, 3)])
    assert spoken.speakers[spoken.columns["id"].tolist().index("テスト/一")] == spoken.speakers[2]


def test_held_out_folders_are_marked_and_come_last(folder, tmp_path):
    other = tmp_path / "dev"
    other.mkdir()
    shards.write_shard(other / "x.array_record", [record(0, id="dev", speaker="neu")])
    corpus = Corpus([folder], held_out=[other])
    assert corpus.columns["held_out"].tolist() == [*plain_columns([folder])["held_out"].tolist(), True]
    assert corpus.columns["speaker"][60] == "neu" and corpus[60].id == "dev"
    assert [corpus[index].id for index in (0, 1, 5)] == ["r0", "テスト/一", "😀"]


def test_opening_keeps_no_table_of_an_earlier_shard(folder, monkeypatch):
    class Table(dict):
        """A dict that can be watched."""

    read, tables = shards.read_index, []

    def watched(path):
        assert all(table() is None for table in tables)
        table = Table(read(path))
        tables.append(weakref.ref(table))
        return table

    monkeypatch.setattr(shards, "read_index", watched)
    corpus = Corpus([folder])
    assert len(tables) == 3 and all(table() is None for table in tables)
    assert corpus.fingerprint() == KNOWN


def test_a_record_of_long_texts_takes_no_hundred_bytes():
    records = [
        record(index, id=f"recording {index:020d}", speaker=f"speaker {index % 100:022d}", license="CC BY-NC-SA 4.0")
        for index in range(10_000)
    ]
    columns = Columns()
    assert columns.add(shards.index_columns(records[:6000])) == 6000
    assert columns.add(shards.index_columns(records[6000:])) == 4000
    finished = columns.finish()
    assert sum(column.nbytes for column in finished.values()) < 100 * len(records)
    assert isinstance(finished["speaker"], Labels) and len(finished["speaker"].values) == 100
    assert finished["id"][9999] == "recording 00000000000000009999"


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [("samples", "16000", "str"), ("samples", 1.5, "float"), ("id", 7, "int"), ("held_out", 0, "int")],
)
def test_a_value_of_another_type_is_named(folder, name, value, found):
    path = shards.index_path(folder / shards.shard_name(1, 3))
    index = json.loads(path.read_text(encoding="utf-8"))
    index["columns"][name][1] = value
    path.write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(shards.ShardError, match=rf"part-00001-of-00003.index.json: index with {name} of \['{found}'\]"):
        Corpus([folder])

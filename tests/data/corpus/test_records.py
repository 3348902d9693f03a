import dataclasses

import msgpack
import numpy as np
import pytest

from metis_jax.data.corpus.records import Record, RecordError, decode_record, encode_record


def example(**fields) -> Record:
    return Record(**({"id": "a/b", "audio": b"fLaC...", "sample_rate": 16_000, "samples": 800} | fields))


def test_a_record_comes_back_equal():
    arrays = {
        "ssl_tokens": np.arange(5, dtype=np.uint16),
        "acoustic_tokens": np.arange(24, dtype=np.uint16).reshape(2, 12),
        "ssl_features": np.linspace(0, 1, 12, dtype=np.float16).reshape(3, 4),
    }
    record = example(text="größe 你好", speaker="s", language="de", license="CC BY 4.0", held_out=True, arrays=arrays)
    again = decode_record(encode_record(record))
    for field in dataclasses.fields(Record):
        if field.name != "arrays":
            assert getattr(again, field.name) == getattr(record, field.name), field.name
    assert set(again.arrays) == set(arrays)
    for name, array in arrays.items():
        assert again.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(again.arrays[name], array)
    assert encode_record(again) == encode_record(record)
    assert record.seconds == 0.05


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": ""}, "without an id"),
        ({"kind": "music"}, "kind is 'music'"),
        ({"samples": 0}, "samples 0"),
        ({"arrays": {"tokens": np.zeros(3, np.int32)}}, "array 'tokens' is unknown"),
        ({"arrays": {"ssl_tokens": np.zeros((3, 2), np.int32)}}, "ssl_tokens is int32"),
        ({"arrays": {"ssl_tokens": np.zeros(3, np.float32)}}, "ssl_tokens is float32"),
    ],
)
def test_a_record_that_does_not_hold_together_is_refused(fields, message):
    with pytest.raises(RecordError, match=message):
        example(**fields)


def _repacked(**changes) -> bytes:
    fields = msgpack.unpackb(encode_record(example()))
    fields |= changes
    return msgpack.packb({key: value for key, value in fields.items() if value != "drop"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a record"),
        (b"\x93\x01\x02\x03", "no version"),
        (encode_record(example())[:-5], "not a record"),
        (_repacked(version=9), "version 9"),
        (_repacked(samples="drop"), r"missing fields \['samples'\]"),
        (_repacked(mood="sad"), r"unknown fields \['mood'\]"),
        (_repacked(speaker=7), "field speaker is a int"),
        (_repacked(arrays={"ssl_tokens": ["<u2", [4], b"123"]}), "broken arrays"),
        (_repacked(arrays={"ssl_tokens": ["|O", [1], b"12345678"]}), "broken arrays"),
        (_repacked(arrays=5), "broken arrays"),
    ],
)
def test_bad_bytes_say_what_is_wrong(data, message):
    with pytest.raises(RecordError, match=message):
        decode_record(data)

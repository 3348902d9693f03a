"""Safetensors files: ours and the library's read each other's, damage is told in one line."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from metis_jax.weights.tensor_files import TensorFile, WeightsError, spec_of, write_tensor_file

TENSORS = {
    "params/a": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "count": np.array(7, np.int64),
    "empty": np.zeros((0, 256), np.float32),
    "is_set": np.array([True, False]),
    "half": np.arange(5, dtype=np.float16),
}


def write(path, tensors):
    write_tensor_file(path, {name: spec_of(x) for name, x in tensors.items()}, tensors.items())


def test_the_library_reads_what_we_write(tmp_path):
    write(tmp_path / "x.safetensors", TENSORS)
    found = load_file(tmp_path / "x.safetensors")
    assert set(found) == set(TENSORS)
    for name, x in TENSORS.items():
        np.testing.assert_array_equal(found[name], x)
        assert found[name].dtype == x.dtype


def test_we_read_what_the_library_writes(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"format": "pt"})
    file = TensorFile(tmp_path / "x.safetensors")
    assert file.shapes == {name: x.shape for name, x in TENSORS.items()}
    for name, x in TENSORS.items():
        np.testing.assert_array_equal(file.read(name), x)
    np.testing.assert_array_equal(file.read("params/a", rows=1), TENSORS["params/a"][:1])


def test_bfloat16_survives(tmp_path):
    x = np.linspace(-1, 1, 6).astype(ml_dtypes.bfloat16)
    write(tmp_path / "x.safetensors", {"x": x})
    assert TensorFile(tmp_path / "x.safetensors").read("x").tobytes() == x.tobytes()


@pytest.mark.parametrize("strided", [np.arange(12.0).reshape(3, 4).T, np.arange(12.0)[::2]])
def test_strided_arrays_are_written_in_order(tmp_path, strided):
    write(tmp_path / "x.safetensors", {"x": strided})
    np.testing.assert_array_equal(TensorFile(tmp_path / "x.safetensors").read("x"), strided)


def _truncate(data):
    return data[:-3]


def _append(data):
    return data + b"\0"


def _with_header(data, text):
    n = int.from_bytes(data[:8], "little")
    return len(text).to_bytes(8, "little") + text + data[8 + n :]


def _claim(**fields):
    """The header with another entry of the last tensor, five numbers in ten bytes."""

    def damage(data):
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        header["half"] |= fields
        return _with_header(data, json.dumps(header).encode())

    return damage


def _overlap(data):
    """A tensor on the bytes of another one."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    header["is_set"]["data_offsets"] = [place - 2 for place in header["is_set"]["data_offsets"]]
    return _with_header(data, json.dumps(header).encode())


def _hole(data):
    """Two bytes that belong to no tensor."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    header["half"]["data_offsets"] = [place + 2 for place in header["half"]["data_offsets"]]
    return _with_header(data, json.dumps(header).encode()) + b"  "


@pytest.mark.parametrize(
    "damage, message",
    [
        (_truncate, "truncated or damaged, expected"),
        (_append, "truncated or damaged, expected"),
        (_claim(shape=[4]), "the header is damaged"),
        (_overlap, "damaged, .* begins 2 bytes before the end of"),
        (_hole, "damaged, 'half' begins 2 bytes after the end of"),
        (lambda data: b"", "no header"),
        (lambda data: data[:40], "truncated or not a safetensors file"),
        (lambda data: b"PK\3\4" + b"\x80\2}q\0." * 30, "not a safetensors file"),
        (lambda data: (2).to_bytes(8, "little") + b"[]", "the header is damaged"),
        (_claim(shape=[float("inf")]), "the header is damaged"),
        (_claim(shape=[-5]), "the header is damaged"),
        (_claim(shape=[2.5]), "the header is damaged"),
        (_claim(data_offsets=[0.0, 10.0]), "the header is damaged"),
        (_claim(data_offsets=[-10, 0]), "the header is damaged"),
        (_claim(data_offsets=[0, 10]), "truncated or damaged, expected"),
        (lambda data: _with_header(data, b"[" * 100_000), "the header is damaged"),
        (lambda data: _with_header(data, b'{"a": {}, "a": {}}'), "the header is damaged"),
    ],
)
def test_damage_is_told_in_one_line(tmp_path, damage, message):
    path = tmp_path / "x.safetensors"
    write(path, TENSORS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeightsError, match=message) as caught:
        TensorFile(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file_and_tensor_are_named(tmp_path):
    with pytest.raises(WeightsError, match="nowhere.safetensors: No such file"):
        TensorFile(tmp_path / "nowhere.safetensors")
    write(tmp_path / "x.safetensors", TENSORS)
    with pytest.raises(WeightsError, match="tensor 'b' is missing"):
        TensorFile(tmp_path / "x.safetensors").read("b")


def test_the_writer_refuses_what_it_was_not_promised(tmp_path):
    specs = {name: spec_of(x) for name, x in TENSORS.items()}
    with pytest.raises(ValueError, match="was not written"):
        write_tensor_file(tmp_path / "x", specs, list(TENSORS.items())[:-1])
    with pytest.raises(ValueError, match="expected tensor 'params/a'"):
        write_tensor_file(tmp_path / "x", specs, [("params/a", TENSORS["params/a"].T)])

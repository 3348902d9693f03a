"""What is read whole: refusals in one line that names the file, before anything is waited for or allocated."""

import io
import os
import zipfile

import numpy as np
import pytest

from metis_jax.files.inputs import InputError, finite_floats, parse_json, read_array, read_arrays, read_bytes, read_json

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DEEP, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ("1" * 400, "the integer 1111.*… does not fit 64 bits"),
        ("1" * 5000, "the integer 1.* does not fit 64 bits"),
        ("-9223372036854775809", "the integer -9223372036854775809 does not fit 64 bits"),
        ("1e400", "the number 1e400 is not finite"),
        ("[NaN]", "NaN is no number of JSON"),
        ("-Infinity", "-Infinity is no number"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' is there twice"),
        ('["\\ud800"]', "half of a surrogate pair"),
        (b"[\xff]", "not UTF-8 from byte 1 on"),
        ("[1,]", "Expecting value|Illegal trailing comma"),
        ("", "Expecting value"),
    ],
)
def test_json_that_is_refused(text, reason):
    with pytest.raises(InputError, match=rf"^there: not valid JSON \({reason}") as caught:
        parse_json(text, "there")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_json_that_is_read(tmp_path):
    assert parse_json('["\\ud83d\\ude00", 9223372036854775807, -1.5e3]', "") == ["\U0001f600", 2**63 - 1, -1500.0]
    (tmp_path / "marked.json").write_bytes(b"\xef\xbb\xbf" + '{"é": null}'.encode())
    assert read_json(tmp_path / "marked.json") == {"é": None}


def test_only_regular_files_of_bounded_size_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("pipe")
    for place in (tmp_path / "pipe", tmp_path / "link", tmp_path, "/dev/zero"):
        with pytest.raises(InputError, match=f"^{place}: is not a regular file$"):
            read_bytes(place)
    with pytest.raises(InputError, match="gone: No such file"):
        read_bytes(tmp_path / "gone")
    with pytest.raises(InputError, match=r"'a\\x00b': embedded null byte"):
        read_bytes("a\0b")
    with pytest.raises(InputError, match="x: File name too long"):
        read_bytes(tmp_path / ("x" * 300))
    with pytest.raises(InputError, match="has 5 bytes; at most 4 are read"):
        read_bytes(tmp_path / "file", largest=4)
    assert read_bytes(tmp_path / "file", largest=5) == b"12345"


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def claiming(shape):
    """The bytes of an `.npy` file that says to hold more than it does."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(64)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (claiming((10**12,)), "damaged, float32.* takes 4000000000000 bytes and 64 are there"),
        (claiming((2**40, 2**40)), "damaged"),
        (claiming((-4, -4)), "damaged"),
        (claiming((4,)), "damaged, .* takes 16 bytes and 64 are there"),
        (npy(np.array([{}], object)), "holds object"),
        (npy(np.array(["a"])), "holds str"),
        (npy(np.zeros(3))[:40], "not an .npy file"),
        (b"\x93NUMPY\x01\x00v\x00" + b"(" * 118, "not an .npy file"),
        (b"\x93NUMPY\x09\x00" + bytes(80), r"not an .npy file \(version"),
        (b"", "not an .npy file"),
    ],
)
def test_arrays_that_are_refused(tmp_path, data, reason):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(InputError, match=f"a.npy: {reason}") as caught:
        read_array(tmp_path / "a.npy")
    assert "\n" not in str(caught.value)


def archive(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def damaged(path, at, value):
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)


def central(path):
    """Where the directory of an archive begins."""
    return path.read_bytes().index(b"PK\x01\x02")


def test_archives_that_are_refused(tmp_path):
    good = npy(np.arange(1000.0))
    cases = {
        "crc": lambda path: damaged(path, 200, b"\xff\xff\xff"),
        "encrypted": lambda path: [damaged(path, at, b"\x01") for at in (6, central(path) + 8)],
        "method": lambda path: [damaged(path, at, b"\x63") for at in (8, central(path) + 10)],
        "cut": lambda path: path.write_bytes(path.read_bytes()[:-30]),
        "text": lambda path: path.write_text("mean, var"),
    }
    for name, damage in cases.items():
        path = archive(tmp_path / f"{name}.npz", {"mean.npy": good}, compression=zipfile.ZIP_DEFLATED)
        damage(path)
        with pytest.raises(InputError, match=f"{name}.npz: not an .npz file"):
            read_arrays(path)
    with pytest.raises(InputError, match="lies.npz: mean.npy: damaged"):
        read_arrays(archive(tmp_path / "lies.npz", {"mean.npy": claiming((10**12,))}))
    with pytest.raises(InputError, match="twice.npz: two arrays are called 'mean'"), pytest.warns(UserWarning):
        with zipfile.ZipFile(tmp_path / "twice.npz", "w") as file:
            file.writestr("mean.npy", good), file.writestr("mean.npy", good)
        read_arrays(tmp_path / "twice.npz")


def test_a_small_archive_that_unpacks_without_end_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("metis_jax.files.inputs.LARGEST", 10_000)
    path = archive(tmp_path / "bomb.npz", {"a.npy": npy(np.zeros(5000))}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1000
    with pytest.raises(InputError, match="bomb.npz: its arrays have 40128 bytes; at most 10000 are read"):
        read_arrays(path)


def test_arrays_that_are_read(tmp_path):
    arrays = {"a": np.asfortranarray(np.arange(12, dtype=np.int16).reshape(3, 4)), "b": np.float16([[0.5]])}
    arrays["c"] = np.zeros((0, 3))
    for pack in (np.savez, np.savez_compressed):
        pack(tmp_path / "all.npz", **arrays)
        for name, array in read_arrays(tmp_path / "all.npz").items():
            np.testing.assert_array_equal(array, arrays[name])
            assert array.dtype == arrays[name].dtype
    np.save(tmp_path / "one.npy", arrays["a"])
    np.testing.assert_array_equal(read_array(tmp_path / "one.npy"), arrays["a"])


def test_numbers_that_float32_can_not_hold():
    with pytest.raises(InputError, match="^a.npy: holds numbers that are not finite, or too large for float32"):
        finite_floats(np.array([1.0, 1e200]), "a.npy")
    with pytest.raises(InputError, match="^a.npy: holds int64"):
        finite_floats(np.arange(3), "a.npy")
    assert finite_floats(np.float64([3e38]), "").dtype == np.float32
    assert finite_floats(np.float16([1]), "").dtype == np.float16

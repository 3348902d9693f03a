"""Text files as editors, spreadsheets and other systems write them, and every reader of lines on the same ones."""

import json
import os

import pytest

from metis_jax.cli.requests import read_list
from metis_jax.data.corpus.items import list_items
from metis_jax.evaluation.pairing import find_audio, read_texts
from metis_jax.evaluation.plots import read_curves
from metis_jax.files.inputs import InputError
from metis_jax.files.text_files import read_lines, read_text
from metis_jax.text.lexicon import Lexicon

MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (MARK, []),
        (b"a\nb", ["a", "b"]),
        (MARK + b"a\r\nb\r\n", ["a", "b"]),
        (b"a\rb\r", ["a", "b"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        ("a\u2028b\u0085c\x0bd\x0ce\x1cf\n".encode(), ["a\u2028b\u0085c\x0bd\x0ce\x1cf"]),
        ("\ufeff\ufeffa".encode(), ["\ufeffa"]),
    ],
)
def test_lines(tmp_path, data, lines):
    path = tmp_path / "lines.txt"
    path.write_bytes(data)
    assert read_lines(path) == lines


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("Grüße".encode("latin-1"), "is not UTF-8 text (byte 0xfc at 2); save it as UTF-8"),
        ("text".encode("utf-16"), "is not UTF-8 text (byte 0xff at 0)"),
        ("a" * 11, "has 11 bytes; at most 10 are read"),
        (None, "No such file or directory"),
        ("folder", "is not a regular file"),
        ("pipe", "is not a regular file"),
    ],
)
def test_what_can_not_be_read_is_named(tmp_path, data, message):
    path = tmp_path / "text.txt"
    if data == "folder":
        path.mkdir()
    elif data == "pipe":
        os.mkfifo(path)
    elif data is not None:
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(InputError) as raised:
        read_text(path, most_bytes=10)
    assert str(raised.value).startswith(f"{path}: {message}") and "\n" not in str(raised.value)


@pytest.fixture
def written(tmp_path):
    """Writes a file as Notepad and Excel do, a byte order mark first, with audio of the names a.b.wav and c.wav."""
    for name in ("a.b.wav", "c.wav"):
        (tmp_path / name).touch()

    def write(name: str, *rows: str):
        path = tmp_path / name
        path.write_bytes(MARK + "".join(f"{row}\r\n" for row in rows).encode())
        return path

    return write


def test_a_byte_order_mark_belongs_to_no_reader(written, tmp_path):
    for name, row in (("words.tsv", "Metis\tm|ɛ"), ("words.json", '{"Metis": "m|ɛ"}')):
        assert Lexicon.from_file(written(name, row)).read_around("Metis", lambda text: ("?", [])) == ("m|ɛ", [])
    assert read_list(str(written("jobs.jsonl", "{}"))) == ["{}"]
    assert [item.id for item in list_items(written("manifest.jsonl", '{"path": "c.wav"}'))] == ["c"]
    assert find_audio(written("files.txt", "a.b.wav", "c.wav"), "--outputs").names == ("a.b", "c")
    assert read_texts(written("texts.jsonl", '{"path": "c.wav", "text": "words"}')) == {"c.wav": "words"}
    assert read_curves(written("log.jsonl", '{"step": 1, "loss": 2}')) == {"loss": ([1], [2])}


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\u0085"])
def test_a_separator_inside_a_string_ends_no_line(written, tmp_path, char):
    row = json.dumps({"path": "c.wav", "text": f"one{char}two"}, ensure_ascii=False)
    assert read_list(str(written("jobs.jsonl", row, row))) == [row, row]
    assert read_texts(written("texts.jsonl", row)) == {"c.wav": f"one{char}two"}
    assert list_items(written("manifest.jsonl", row))[0].text == f"one{char}two"
    (tmp_path / f"c{char}.wav").touch()
    assert find_audio(written("files.txt", f"c{char}.wav", "c.wav"), "--outputs").names == (f"c{char}", "c")


def test_a_line_that_is_not_utf8_spoils_no_other(tmp_path):
    (tmp_path / "c.wav").touch()
    good, bad = b'{"path": "c.wav"}', '{"path": "Grüße.wav"}'.encode("latin-1")
    path = tmp_path / "manifest.jsonl"
    (tmp_path / "d.wav").touch()
    path.write_bytes(good + b"\n" + bad + b"\r\n" + good.replace(b"c", b"d"))
    fault = f"{path} line 2: is not UTF-8 text; save it as UTF-8"
    assert [item.fault for item in list_items(path)] == ["", fault, ""]
    assert len(read_list(str(path))) == 3


@pytest.mark.parametrize(
    "data", ["Grüße\nGrüße".encode("latin-1"), "a\nb\n".encode("utf-16"), b"RIFF\0\n\xff\na\nb\nc"]
)
def test_what_is_no_text_is_refused_as_one(tmp_path, data):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(data)
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_list(str(path))

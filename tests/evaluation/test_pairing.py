"""Folders pair by name, lists by line, and everything that does not fit is named."""

import json

import pytest

from metis_jax.evaluation.errors import EvaluationError
from metis_jax.evaluation.pairing import find_audio, make_examples, pair, read_texts


@pytest.fixture
def files(tmp_path):
    """Makes empty files, which is all that pairing looks at."""

    def make(*names: str):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def _listed(tmp_path, name, lines):
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path / name


def test_folders_pair_by_relative_name_whatever_the_suffix(files):
    root = files("out/a/1.wav", "out/b/1.wav", "ref/a/1.flac", "ref/b/1.aiff", "ref/c.wav", "ref/notes.txt")
    outputs, references = find_audio(root / "out", "--outputs"), find_audio(root / "ref", "--references")
    assert pair(outputs, references) == [root / "ref/a/1.flac", root / "ref/b/1.aiff"]


def test_outputs_without_a_reference_are_named(files):
    root = files("out/1.wav", "out/2.wav", "ref/1.wav")
    with pytest.raises(EvaluationError, match="1 of 2 files of --outputs .* in --references: 2"):
        pair(find_audio(root / "out", "--outputs"), find_audio(root / "ref", "--references"))


def test_two_files_of_one_name_are_refused(files):
    root = files("out/1.wav", "out/1.flac")
    with pytest.raises(EvaluationError, match="share a name: 1"):
        find_audio(root / "out", "--outputs")


def test_lists_pair_line_by_line(files):
    root = files("x/1.wav", "x/2.wav", "y/z.wav")
    outputs = find_audio(_listed(root, "out.txt", ["x/1.wav", "", "x/2.wav"]), "--outputs")
    assert (
        pair(outputs, find_audio(_listed(root, "same.txt", ["y/z.wav", "y/z.wav"]), "--prompts"))
        == [root / "y/z.wav"] * 2
    )
    with pytest.raises(EvaluationError, match="--outputs lists 2 files and --prompts 1"):
        pair(outputs, find_audio(root / "y/z.wav", "--prompts"))


def test_a_list_and_a_folder_pair_by_file_name(files):
    root = files("x/1.wav", "deep/er/1.flac", "deep/2.flac")
    outputs = find_audio(_listed(root, "out.txt", ["x/1.wav"]), "--outputs")
    assert pair(outputs, find_audio(root / "deep", "--references")) == [root / "deep/er/1.flac"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "absent", "no such folder or file"),
        (lambda root: root / "empty", "no audio there"),
        (lambda root: _listed(root, "gone.txt", ["gone.wav"]), "1 of 1 do not exist: .*gone.wav"),
        (lambda root: _listed(root, "blank.txt", [""]), "the list is empty"),
    ],
)
def test_bad_places_say_what_is_wrong(tmp_path, make, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match=message):
        find_audio(make(tmp_path), "--outputs")


def test_a_binary_file_is_no_list(tmp_path):
    (tmp_path / "list.bin").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(EvaluationError, match="neither audio nor a list"):
        find_audio(tmp_path / "list.bin", "--outputs")


def test_texts_are_found_by_the_longest_matching_end(files):
    root = files("out/s1/001.wav", "out/s2/001.wav", "out/s3/009.wav")
    lines = [{"path": "speech/s1/001.flac", "text": "first"}, {"path": "speech/s2/001.flac", "text": "second"}]
    manifest = _listed(root, "m.jsonl", [json.dumps(line) for line in lines])
    examples = make_examples(find_audio(root / "out", "--outputs"), {}, read_texts(manifest))
    assert [example.text for example in examples] == ["first", "second", None]


def test_ambiguous_texts_are_refused(files):
    root = files("out/001.wav")
    lines = [{"id": "a/001", "text": "first"}, {"id": "b/001", "text": "second"}]
    texts = read_texts(_listed(root, "m.jsonl", [json.dumps(line) for line in lines]))
    with pytest.raises(EvaluationError, match="2 different texts fit"):
        make_examples(find_audio(root / "out", "--outputs"), {}, texts)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not valid JSON"),
        ('{"path": ".", "text": "x"}', "names '.', which is no file"),
        ('{"text": "x"}', "none of"),
        ('{"path": "a"}', "no line has a text"),
    ],
)
def test_bad_manifests_say_what_is_wrong(tmp_path, line, message):
    with pytest.raises(EvaluationError, match=message):
        read_texts(_listed(tmp_path, "m.jsonl", [line]))

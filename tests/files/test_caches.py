"""Folders of a user's own: nobody else writes there, and they do not grow for ever."""

import os
import stat

import pytest

from metis_jax.files import caches
from metis_jax.files.caches import answer_of, make_private, private_cache, trim


def test_a_new_folder_is_closed_to_others(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = private_cache("words")
    assert path == tmp_path / "metis_jax" / "words" and stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_folder_of_somebody_else_or_of_everybody_is_none(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="others can write there"):
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        make_private(tmp_path / "open")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert private_cache("words") is None


def test_what_was_written_first_goes_first(tmp_path):
    for age, name in enumerate(("new", "middle", "old")):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    trim(tmp_path, most_bytes=300)
    assert len(list(tmp_path.iterdir())) == 3
    trim(tmp_path, most_bytes=250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["middle", "new"]
    trim(tmp_path / "gone")


def test_an_answer_is_kept_for_its_question_until_the_package_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    def ask(question):
        return answer_of("answers", question, lambda: asked.append(question) or [len(asked)])

    assert [ask("a"), ask("a"), ask("b")] == [[1], [1], [2]]
    for kept in (tmp_path / "metis_jax" / "answers").iterdir():
        kept.write_text("[1")
    assert ask("a") == ask("a") == [3]
    monkeypatch.setattr(caches, "state_of_package", lambda: "changed")
    assert ask("a") == [4]
    monkeypatch.setattr(caches, "private_cache", lambda name: None)
    assert [ask("a"), ask("a")] == [[5], [6]]


def test_a_package_with_another_file_is_another(tmp_path, monkeypatch):
    (tmp_path / "files").mkdir()
    monkeypatch.setattr(caches, "__file__", str(tmp_path / "files" / "caches.py"))
    state = caches.state_of_package.__wrapped__
    before = state()
    assert before == state()
    (tmp_path / "new.py").write_text("")
    assert before != state()

"""Folders of a user's own: nobody else writes there, and they do not grow for ever."""

import os
import stat

import pytest

from metis_jax.files.caches import make_private, private_cache, trim


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

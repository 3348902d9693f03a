"""Files and folders that appear whole or not at all, and what is left of runs that were killed."""

import errno
import os
import signal
import stat
import subprocess
import sys
from collections import namedtuple

import pytest

from metis_jax.files import outputs
from metis_jax.files.outputs import lock, new_file, new_folder, write_text


@pytest.fixture(autouse=True)
def unswept():
    outputs._sweep.cache_clear()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with new_file(tmp_path / "a.txt") as place:
        place.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old" and len(names(tmp_path)) == 2
    assert (tmp_path / "a.txt").read_text() == "new" and names(tmp_path) == ["a.txt"]
    umask = os.umask(0o077)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_appears_when_its_block_raises(tmp_path, error):
    for new in (new_file, new_folder):
        with pytest.raises(error):
            with new(tmp_path / "a") as place:
                (place / "b" if place.is_dir() else place).write_text("half")
                raise error
        assert names(tmp_path) == []


def test_bytes_are_on_the_disk_before_their_name_is(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.fstat(handle).st_ino), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *places: (done.append("renamed"), replace(*places)))
    write_text(tmp_path / "a.txt", "text")
    assert done == [(tmp_path / "a.txt").stat().st_ino, "renamed", tmp_path.stat().st_ino]

    done.clear()
    with new_folder(tmp_path / "b" / "c") as place:
        (place / "d").mkdir()
        (place / "d" / "e").write_text("text")
    c = tmp_path / "b" / "c"
    assert {path.stat().st_ino for path in (c, c / "d", c / "d" / "e")} < set(done)


def test_errors_name_the_file_and_not_its_hidden_twin(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone/a.txt'$"):
        write_text(tmp_path / "gone" / "a.txt", "")
    with pytest.raises(OSError, match="File name too long") as caught:
        write_text(tmp_path / ("x" * 300), "")
    assert caught.value.filename.endswith("x" * 300) and names(tmp_path) == []


@pytest.mark.parametrize("error", [OSError("16384 requested and 1138 written"), RuntimeError("System error.")])
def test_a_full_disk_is_called_so(tmp_path, monkeypatch, error):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda folder: usage(3, 3, 0))
    with pytest.raises(OSError) as caught:
        with new_file(tmp_path / "a"):
            raise error
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "a"))


KILLED = """
import os, signal
from metis_jax.files.outputs import {new}
with {new}({path!r}) as place:
    (place / "b" if place.is_dir() else place).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("new", ["new_file", "new_folder"])
def test_what_a_killed_run_left_goes_with_the_next_write(tmp_path, new):
    killed = KILLED.format(new=new, path=str(tmp_path / "a"))
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    (tmp_path / ".mine.partial").write_text("")
    with new_file(tmp_path / "one") as one:
        outputs._sweep.cache_clear()
        write_text(tmp_path / "two", "")
        assert one.exists(), "what is still being written stays"
    assert names(tmp_path) == [".mine.partial", "one", "two"]


def test_a_lock_has_one_holder(tmp_path):
    with lock(tmp_path / "lock", "taken"):
        with pytest.raises(ValueError, match="^taken$"):
            with lock(tmp_path / "lock", "taken"):
                pass
    assert not (tmp_path / "lock").exists()
    with lock(tmp_path / "lock", "taken"):
        pass

"""The gate refuses large files that are no weights, in clones of every depth."""

import subprocess
import sys

import pytest
from commands import ROOT


class Repository:
    def __init__(self, folder):
        self.folder = folder

    def git(self, *words):
        known = ("-c", "user.name=A", "-c", "user.email=a@b", "-c", "safe.directory=*")
        subprocess.run(["git", *known, *words], cwd=self.folder, check=True, capture_output=True)

    def commit(self, message, **sizes):
        for name, size in sizes.items():
            (self.folder / name).write_bytes(name.encode() * (size // len(name)))
        self.git("add", "--all")
        self.git("commit", "--message", message)

    def judged(self):
        """Exit status, and what is refused."""
        done = subprocess.run(
            [sys.executable, ROOT / ".ci" / "blobs.py"], cwd=self.folder, capture_output=True, text=True
        )
        return done.returncode, done.stderr


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "made").mkdir()
    made = Repository(tmp_path / "made")
    made.git("init", "--quiet")
    made.commit("First", old=2_000_000)
    return made


def test_large_files_come_with_weights_alone(repository):
    repository.commit("weights: of a model", model=3_000_000, small=900_000)
    repository.git("mv", "old", "moved")
    repository.commit("Moved", note=1_000)
    assert repository.judged() == (0, "")
    repository.commit("Pictures", picture=1_200_000)
    (repository.folder / "picture").unlink()
    repository.commit("Once more")
    status, said = repository.judged()
    assert status == 1 and len(said.splitlines()) == 1
    assert "(Pictures): picture has 1.2 MB" in said and "begins with 'weights:'" in said


@pytest.mark.parametrize(("depth", "status"), [(1, 0), (2, 1), (3, 1)])
def test_shallow_clones_are_judged_as_far_as_they_go(repository, tmp_path, depth, status):
    repository.commit("Second", note=1_000)
    repository.commit("Third", picture=1_200_000)
    repository.git("clone", "--quiet", "--depth", str(depth), f"file://{repository.folder}", str(tmp_path / "clone"))
    assert Repository(tmp_path / "clone").judged()[0] == status

"""Refuses what makes every clone large for ever: a new file of over a megabyte, outside a commit of weights.

    python .ci/blobs.py [COMMIT]

looks at the commits of the repository it is called in that are not in COMMIT's history.  In a shallow clone the oldest
commits are not judged: what was there before them can not be known.
"""

import subprocess
import sys

LIMIT = 1_000_000
REMEDY = "over 1 MB only weights are kept, by a commit whose message begins with 'weights:'"
# Before it the rule was kept by hand.
SINCE = "b6b726c6f000a7d86658b2172889bb75e2ef1f73"


# Of a clone that another user made, too.
GIT = ("git", "-c", "safe.directory=*")


def git(*words: str, given: str = "") -> list[str]:
    return subprocess.run([*GIT, *words], input=given, capture_output=True, text=True, check=True).stdout.splitlines()


def commits(since: str) -> list[tuple[str, list[str], str]]:
    """(name, parents, subject) of every commit that has parents here."""
    is_here = subprocess.run([*GIT, "cat-file", "-e", f"{since}^{{commit}}"], stderr=subprocess.DEVNULL).returncode == 0
    excluded = [f"^{since}"] if is_here else []
    lines = (line.split("\t", 2) for line in git("log", "--format=%H%x09%P%x09%s", "HEAD", *excluded))
    return [(name, parents.split(), subject) for name, parents, subject in lines if parents]


def large_blobs(name: str, parents: list[str]) -> list[tuple[str, int]]:
    """(path, bytes) of what no commit before this one has."""
    objects = git("rev-list", "--objects", name, *(f"^{parent}" for parent in parents))
    paths = dict(line.partition(" ")[::2] for line in objects)
    sizes = git("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", given="\n".join(paths))
    found = (line.split() for line in sizes)
    return [(paths[key], int(size)) for key, kind, size in found if kind == "blob" and int(size) > LIMIT]


def main() -> int:
    refused = 0
    for name, parents, subject in commits(sys.argv[1] if len(sys.argv) > 1 else SINCE):
        if subject.lower().startswith("weights:"):
            continue
        for path, size in large_blobs(name, parents):
            refused += 1
            print(f"{name[:10]} ({subject}): {path} has {size / 1e6:.1f} MB; {REMEDY}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())

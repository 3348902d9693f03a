"""How far one walks in the package: rooms, floors and arrows, and what one job touches.

    python benchmarks/house.py [--root=CHECKOUT ...]
    python benchmarks/house.py --trace=se|train [--root=CHECKOUT]

A room is a folder, or a module at the top; an arrow goes from a room to one that it imports from; floors are the
longest way down the arrows; an arrow is upward if it closes a circle.  A `__main__` is a door into its room and not of
it: where it leads is not counted.  All of it is read from the syntax trees.  A trace runs a job (`infer.py --task=se`
with the packaged model; one step of `configs/pretrain.py:quicktest`) and counts the functions and files of the package
that it enters, the models' while they are traced for XLA included.
"""

import argparse
import ast
import collections
import pathlib
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

HERE = pathlib.Path(__file__).resolve().parents[1]


def modules_of(package: pathlib.Path) -> dict[str, pathlib.Path]:
    """{dotted name: file}."""
    return {".".join(path.relative_to(package.parent).with_suffix("").parts): path for path in package.rglob("*.py")}


def room_of(module: str, modules: dict[str, pathlib.Path]) -> str:
    """The folder of a module, without the package's own name; the module itself where it lies at the top."""
    _, *names = module.removesuffix(".__init__").split(".")
    is_module = module in modules and modules[module].name != "__init__.py"
    return "/".join(names[:-1] if is_module and len(names) > 1 else names)


def imports_of(path: pathlib.Path, modules: dict[str, pathlib.Path]) -> Iterator[str]:
    """The modules of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def arrows_of(package: pathlib.Path) -> dict[str, set[str]]:
    """{room: rooms that it imports from}."""
    modules = modules_of(package)
    arrows: dict[str, set[str]] = {}
    for module, path in modules.items():
        if module == f"{package.name}.__init__" or path.name == "__main__.py":
            continue
        own = arrows.setdefault(room_of(module, modules), set())
        own |= {room_of(name, modules) for name in imports_of(path, modules) if name in modules}
    return {room: reached - {room} for room, reached in arrows.items()}


def reachable(room: str, arrows: dict[str, set[str]]) -> set[str]:
    """Every room down the arrows from one, itself only if a circle leads back."""
    seen, ahead = set(), list(arrows[room])
    while ahead:
        if (found := ahead.pop()) not in seen:
            seen.add(found)
            ahead += arrows[found]
    return seen


def floors_of(arrows: dict[str, set[str]]) -> dict[str, int]:
    """How many floors lie below each room; the rooms of a circle share one."""
    below = {room: reachable(room, arrows) for room in arrows}
    floors: dict[str, int] = {}
    for room in sorted(arrows, key=lambda room: len(below[room] - {room})):
        down = [floors[other] for other in below[room] if room not in below[other] and other != room]
        floors[room] = 1 + max(down, default=-1)
    return floors


def measure(root: pathlib.Path) -> list[str]:
    """A row of the table: rooms, floors, arrows, upward arrows, files, lines."""
    package = root / "metis_jax"
    arrows = arrows_of(package)
    upward = sum(room in reachable(other, arrows) for room, others in arrows.items() for other in others)
    files = list(package.rglob("*.py"))
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    counts = len(arrows), 1 + max(floors_of(arrows).values()), sum(map(len, arrows.values())), upward
    top = sum(1 for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())
    return [root.name, str(top), *map(str, counts), str(len(files)), str(lines)]


def print_table(rows: Sequence[Sequence[str]]) -> None:
    head = ("checkout", "at the top", "rooms", "floors", "arrows", "upward", "files", "lines")
    for row in (head, ("---",) * len(head), *rows):
        print("| " + " | ".join(row) + " |")


def touched(root: pathlib.Path, job: Callable[[], Any]) -> dict[str, set[str]]:
    """{file: functions of it that a job enters}, in any thread."""
    package, found = f"{root / 'metis_jax'}/", collections.defaultdict(set)

    def profile(frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(package) and not code.co_name.startswith("<"):
            found[code.co_filename.removeprefix(package)].add(code.co_qualname)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        job()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return found


def run_job(name: str, root: pathlib.Path, folder: pathlib.Path) -> Callable[[], Any]:
    """The job without what it takes to import it."""
    if name == "se":
        from metis_jax.cli import infer

        source = root / "metis_jax/assets/noisy.flac"
        flags = ("--task=se", f"--source={source}", f"--output={folder / 'clean.wav'}", "--compilation_cache=off")
        return lambda: infer.main(list(flags))
    from metis_jax.cli import train

    config = root / "configs/pretrain.py"
    flags = (f"--config={config}:quicktest", f"--workdir={folder / 'run'}", "--config.steps=1")
    return lambda: train.main(list(flags))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, action="append", help="a checkout; this one if none is given")
    parser.add_argument("--trace", choices=("se", "train"), help="run a job and count what it touches")
    given = parser.parse_args(arguments)
    roots = [root.resolve() for root in given.root or [HERE]]
    if not given.trace:
        print_table([measure(root) for root in roots])
        return
    sys.path.insert(0, str(roots[0]))
    with tempfile.TemporaryDirectory() as folder:
        found = touched(roots[0], run_job(given.trace, roots[0], pathlib.Path(folder)))
    rooms = {pathlib.PurePath(file).parent for file in found}
    functions = sum(map(len, found.values()))
    print(f"{given.trace}: {functions} functions in {len(found)} files of {len(rooms)} folders")
    for file, names in sorted(found.items()):
        print(f"  {len(names):3} {file}")


if __name__ == "__main__":
    main()

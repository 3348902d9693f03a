"""Arrows between the parts of the package point down, read from the syntax trees: nothing is imported to find out."""

import ast
import functools
import graphlib
import re
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1] / "metis_jax"

# Bottom to top: a part may import from the lines above its own, and from itself.
LEVELS = (
    ("clock", "faults", "files", "reports", "sections", "tasks"),
    ("types", "config"),
    ("audio", "video"),
    ("ops",),
    ("layers",),
    ("models",),
    ("objectives", "decoding", "sharding", "text", "weights"),
    ("data", "inference"),
    ("training", "convert", "evaluation", "app", "hub", "serving"),
    ("parity", "scaling"),
    ("cli", "__init__"),
    ("__main__",),
)
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}

# Parts that stay free of what would weigh on them: data workers and text run without a device, objectives and the
# decoding loop are tested without a model.
NEVER = {
    "audio": ("jax", "flax", "torch", "metis_jax.types"),
    "data": ("jax", "flax", "optax", "torch", "tensorflow", "metis_jax.types", "metis_jax.ops", "metis_jax.models"),
    "text": ("jax", "flax", "torch", "tensorflow"),
    "video": ("jax", "flax", "torch", "metis_jax.types"),
    "objectives": ("metis_jax.models", "metis_jax.layers"),
    "decoding/masked_decode.py": ("metis_jax.models", "metis_jax.layers"),
    "decoding/guidance.py": ("metis_jax.models", "metis_jax.layers"),
    "ops": ("flax",),
}
# What training or the making of data alone needs, and inference does not wait for.
HEAVY = ("grain", "librosa", "matplotlib", "optax", "orbax", "scipy.signal", "scipy.stats", "sklearn", "tensorboardX")
INFERENCE = (
    "app",
    "audio",
    "decoding",
    "files",
    "inference",
    "layers",
    "models",
    "ops",
    "serving",
    "sharding.py",
    "text",
    "video",
    "weights",
)
NEVER |= {part: (*NEVER.get(part, ()), *HEAVY) for part in INFERENCE}

# Late imports of packages that are always there: each saves seconds for those who do not get that far.
LATE_ON_PURPOSE = {
    "__init__.py": "importing the package is cheap",
    "cli/experiment.py": "bad flags are refused before jax starts",
    "cli/scale.py": "bad flags are refused before jax starts",
    "cli/train.py": "bad flags are refused before jax starts",
    "data/corpus/tfds_records.py": "most corpora are plain shards",
}


class Import(NamedTuple):
    """One imported module and where it stands."""

    file: str
    line: int
    module: str
    is_deferred: bool

    def __str__(self):
        return f"metis_jax/{self.file}:{self.line} imports {self.module}"


def _statements(tree, is_deferred=False):
    """Every statement, and whether it stands in a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield node, is_deferred
            yield from _statements(node, is_deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@functools.cache
def all_imports() -> tuple[Import, ...]:
    """Every import statement of the package; `from package import module` counts as the module."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        for node, is_deferred in _statements(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                package = ("metis_jax", *Path(file).parts[:-1])[: len(Path(file).parts) + 1 - node.level]
                base = ".".join([*(package if node.level else ()), *([node.module] if node.module else [])])
                modules = [f"{base}.{alias.name}" for alias in node.names]
            else:
                continue
            found += [Import(file, node.lineno, module, is_deferred) for module in modules]
    return tuple(found)


def _part(file: str) -> str:
    """What a module belongs to; `python -m` of a part is a command, which stands above all parts."""
    return "__main__" if file.endswith("__main__.py") else Path(file).parts[0].removesuffix(".py")


def _imported_part(module: str) -> str | None:
    pieces = module.split(".")
    return pieces[1] if pieces[0] == "metis_jax" and len(pieces) > 1 else None


def test_every_part_has_a_level():
    parts = {_part(path.relative_to(ROOT).as_posix()) for path in ROOT.rglob("*.py")}
    assert parts <= set(LEVEL), "add the new part to LEVELS"


def test_imports_point_down():
    upward = [
        str(found)
        for found in all_imports()
        if (part := _imported_part(found.module)) is not None
        and part != _part(found.file)
        and LEVEL.get(part, len(LEVELS)) >= LEVEL.get(_part(found.file), -1)
    ]
    assert not upward


def test_deferred_imports_are_for_optional_packages():
    requirements = (ROOT.parent / "requirements.txt").read_text().splitlines()
    names = {line.split("#")[0].strip() for line in requirements}
    always = {name.split(">")[0].split("[")[0].replace("-", "_").casefold() for name in names if name}
    always |= {"metis_jax", "absl", "orbax"} | set(sys.stdlib_module_names)
    late = [found for found in all_imports() if found.is_deferred and found.module.split(".")[0] in always]
    assert not [str(found) for found in late if found.file not in LATE_ON_PURPOSE]
    assert {found.file for found in late} == set(LATE_ON_PURPOSE), "an exception that is needed no more"


@functools.cache
def arrows_between_modules() -> frozenset[tuple[Path, Path]]:
    """(importer, imported), both as files of the package."""
    paths = [path.relative_to(ROOT) for path in ROOT.rglob("*.py")]
    known = {".".join(("metis_jax", *path.with_suffix("").parts)): path for path in paths}
    return frozenset(
        (Path(found.file), known[target])
        for found in all_imports()
        for target in (found.module, found.module.rpartition(".")[0])
        if target in known
    )


def _room(path: Path) -> Path:
    """The folder of a module, or the module itself where it lies at the top."""
    return path.parent if path.parts[1:] else path


def test_commands_without_an_extra_import_what_is_always_installed():
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", one)[0].replace("-", "_") for one in project["dependencies"]} - {"absl_py"}
    imported: dict[str, set[str]] = {}
    for found in all_imports():
        if not found.is_deferred:
            module = ".".join(("metis_jax", *Path(found.file).with_suffix("").parts))
            imported.setdefault(module, set()).add(found.module)
    todo = [place.partition(":")[0] for place in project["scripts"].values() if "doors" not in place]
    seen, missing = set(), set()
    while todo:
        module = todo.pop()
        if module in imported and module not in seen:
            seen.add(module)
            for one in imported[module]:
                todo += [one, one.rpartition(".")[0]]
                if one.split(".")[0] not in names | {"metis_jax", "absl"} | set(sys.stdlib_module_names):
                    missing.add(f"{module} imports {one}")
    assert len(seen) > 50 and not missing


def test_no_module_imports_itself_through_others():
    graph: dict[Path, set[Path]] = {}
    for importer, imported in arrows_between_modules():
        graph.setdefault(importer, set()).add(imported)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_no_room_imports_itself_through_others():
    graph: dict[Path, set[Path]] = {}
    for importer, imported in arrows_between_modules():
        if importer.name not in ("__main__.py", "__init__.py") and _room(importer) != _room(imported):
            graph.setdefault(_room(importer), set()).add(_room(imported))
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("place", NEVER)
def test_parts_stay_free_of(place):
    heavy = [
        str(found)
        for found in all_imports()
        if (found.file == place or found.file.startswith(place + "/"))
        and any(found.module == name or found.module.startswith(name + ".") for name in NEVER[place])
    ]
    assert not heavy


def test_torch_is_imported_by_convert_alone_and_late():
    eager = [
        str(found)
        for found in all_imports()
        if found.module.split(".")[0] in ("torch", "torchaudio", "transformers")
        and (_part(found.file) != "convert" or not found.is_deferred)
    ]
    assert not eager


def test_packages_import_nothing_by_themselves():
    assert not [str(found) for found in all_imports() if found.file.endswith("__init__.py") and not found.is_deferred]

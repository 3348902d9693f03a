"""What `import metis_jax` gives: the class `Metis` and a version, and nothing heavy until they are asked for."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import metis_jax
from metis_jax.inference.metis import Metis

ROOT = Path(__file__).parents[1]


def test_the_package_gives_the_class_and_a_version():
    from metis_jax import Metis as found

    assert found is Metis and metis_jax.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="metis_jax.*Metis2"):
        metis_jax.Metis2  # noqa: B018


def test_importing_the_package_is_cheap():
    loads = "import sys, metis_jax; sys.exit(' '.join({'jax', 'numpy', 'flax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", loads], cwd=ROOT, stderr=subprocess.PIPE).stderr in (b"", b"\n")


def test_every_command_has_a_console_script():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    found = {place.replace("doors:", "").partition(":")[0] for place in scripts.values()}
    commands = {path for path in (ROOT / "metis_jax" / "cli").glob("*.py") if "__main__" in path.read_text()}
    assert found == {f"metis_jax.cli.{path.stem}" for path in commands} | {"metis_jax.text.__main__"}
    for place in scripts.values():
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(module), function))

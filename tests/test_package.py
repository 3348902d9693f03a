"""What `import metis_jax` gives: the class `Metis` and a version, and nothing heavy until they are asked for."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import soundfile

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


_ASK_EVERY_COMMAND = """
import contextlib, io, json, sys
from importlib.metadata import distribution

import metis_jax

said = {"metis_jax": metis_jax.__file__}
for script in distribution("metis_jax").entry_points:
    sys.argv = [script.name, "--help"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = script.load()()
        except SystemExit as end:
            status = end.code
    said[script.name] = [status, out.getvalue(), err.getvalue()]
json.dump(said, sys.stdout)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder that the wheel is unpacked in, which was built of what the repository has."""
    source, built, there = (tmp_path_factory.mktemp(name) for name in ("source", "built", "there"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "configs", source / "configs", ignore=ignored)
    shutil.copytree(ROOT / "metis_jax", source / "metis_jax", symlinks=True, ignore=ignored)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={built}", str(source)]
    subprocess.run(build, check=True, timeout=600)
    [path] = built.iterdir()
    zipfile.ZipFile(path).extractall(there)
    return there


def outside(wheel, folder, *words):
    """What Python says in an empty folder, with the wheel in place of the repository."""
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    ran = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_every_command_of_the_wheel_helps_or_names_its_extra(wheel, tmp_path):
    said = json.loads(outside(wheel, tmp_path, "-c", _ASK_EVERY_COMMAND))
    assert said.pop("metis_jax") == str(wheel / "metis_jax" / "__init__.py")
    assert said.keys() == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].keys()
    for name, (status, out, err) in said.items():
        if status:
            assert status == 2 and not out and err.count("\n") == 1 and "pip install 'metis_jax[" in err, name
        else:
            assert name in out and not err, name


@pytest.mark.slow
def test_the_wheel_enhances_and_knows_its_experiments_in_an_empty_folder(wheel, tmp_path):
    shutil.copy(ROOT / "metis_jax" / "assets" / "noisy.flac", tmp_path)
    code = "from metis_jax import Metis; Metis.from_pretrained('nano').enhance('noisy.flac').save('clean.wav')"
    outside(wheel, tmp_path, "-c", code)
    noisy, clean = (soundfile.info(tmp_path / name) for name in ("noisy.flac", "clean.wav"))
    assert clean.frames == round(noisy.duration * 24000)
    code = "import sys; from metis_jax.cli.doors import train; sys.exit(train())"
    assert "model.generator.width = 64" in outside(wheel, tmp_path, "-c", code, "--config=pretrain:quicktest", "--show")

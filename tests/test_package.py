"""What `import metis_jax` gives: the class `Metis` and a version, and nothing heavy until they are asked for."""

import subprocess
import sys
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

"""The parity command judges rightly; the reference's own goldens, where that folder is there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import official_folder
import pytest
import recipe
from commands import ROOT, users_environment

from metis_jax.convert.rules import to_variables
from metis_jax.convert.semantic_codec import RULES, config_from_shapes
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.parity.__main__ import FULL, TINY, Found, compare, main

GOLDEN = Path(__file__).parents[1] / "golden"
REFERENCE = Path(os.environ.get("METIS_REFERENCE", Path(__file__).parents[3] / "shared" / "reference"))
needs_reference = pytest.mark.skipif(
    not (REFERENCE / "recipe.py").is_file(), reason="set METIS_REFERENCE to the folder of recipe.py and the goldens"
)


@pytest.mark.parametrize(
    "expected, ours, limits, verdict",
    [
        (np.ones(1000), np.ones(1000) * (1 + 5e-5), TINY, "ok"),
        (np.ones(1000), np.ones(1000) * (1 + 5e-4), TINY, "FAIL"),
        (np.ones(1000), np.full(1000, np.nan), TINY, "FAIL"),
        (np.arange(1000), np.arange(1000), TINY, "ok"),
        (np.arange(1000), np.arange(1000) + (np.arange(1000) == 3), TINY, "FAIL"),
        (np.arange(1000), np.arange(1000) + (np.arange(1000) < 5), FULL, "ok"),
        (np.arange(1000), np.arange(1000) + (np.arange(1000) < 6), FULL, "FAIL"),
        (np.ones(3), np.ones(4), TINY, "FAIL shape (4,), expected (3,)"),
    ],
)
def test_verdicts(expected, ours, limits, verdict):
    assert compare("golden", "array", expected, Found(ours), limits).verdict == verdict


def test_padding_is_not_compared():
    found = Found(np.array([[1.0, 9.0]]), where=np.array([[True, False]]))
    assert compare("golden", "array", np.array([[1.0, 2.0]]), found, TINY).verdict == "ok"


@pytest.fixture
def goldens(tmp_path):
    """A folder like the reference's with one golden, which needs no weights."""
    (tmp_path / "recipe.py").write_text(
        "import json, pathlib\n"
        "from recipe import inputs, tensor\n"
        "def load_spec(name):\n"
        "    return json.loads((pathlib.Path(__file__).parent / 'specs' / f'{name}.json').read_text())\n"
    )
    (tmp_path / "specs").mkdir()
    folder = tmp_path / "golden"
    folder.mkdir()
    shutil.copy(GOLDEN / "logmel.npz", folder)
    with np.load(folder / "logmel.npz") as arrays:
        names = arrays.files
    (folder / "index.json").write_text(json.dumps({"logmel": {"config": {}, "arrays": dict.fromkeys(names)}}))
    return folder


def run(folder, *flags):
    return main(["parity", f"--goldens={folder}", *flags])


def test_one_line_per_array_and_a_summary(goldens, capsys):
    assert run(goldens) == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["features_even", "is_valid_even", "features_odd", "is_valid_odd"]
    assert all(line.endswith(" ok") for line in lines)
    assert summary == "4 arrays: 4 ok, 0 FAIL"


def test_a_wrong_array_fails(goldens, capsys):
    with np.load(goldens / "logmel.npz") as arrays:
        changed = dict(arrays)
    changed["features_odd"] = changed["features_odd"] * np.float32(1.001)
    changed["surprise"] = np.ones(3)
    np.savez(goldens / "logmel.npz", **changed)
    assert run(goldens) == 1
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in out if "FAIL" in line][:2] == ["features_odd", "surprise"]
    assert out[-1] == "5 arrays: 3 ok, 2 FAIL"


def add_drawn_golden(folder, entry, *, weights_at, inputs_at):
    """Beside the other golden one of a semantic codec, computed here at weights and an input drawn at these seeds."""
    shapes = official_folder.shapes("mini_semantic_codec")
    (folder.parent / "specs" / "semantic_codec.json").write_text(json.dumps(shapes))
    config = config_from_shapes(shapes)
    variables = jax.tree.map(jnp.asarray, to_variables(RULES, recipe.state_dict(shapes, weights_at)))
    features = jnp.asarray(recipe.inputs("semantic_codec", (1, 12, config.feature_width), seed=inputs_at))

    @jax.jit
    def codec(variables, features):
        def run(method):
            return SemanticCodec(config).apply(variables, features, jnp.array([12]), method=method)

        return {"codes": run("quantize")[0], "encoded_slice": run("latents")}

    arrays = jax.tree.map(np.asarray, codec(variables, features))
    np.savez(folder / "semantic_codec.npz", **arrays)
    edit_index(folder, semantic_codec={"config": {}, "arrays": dict.fromkeys(arrays), **entry})


def edit_index(folder, **entries):
    path = folder / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize(
    "entry, weights_at, inputs_at, status",
    [
        ({}, 0, 0, 0),  # an entry without a seed is of seed 0
        ({"seed": 7}, 7, 7, 0),
        ({"seed": 7}, 0, 7, 1),
        ({"seed": 7}, 7, 0, 1),
    ],
)
def test_weights_and_inputs_are_drawn_at_the_seed_of_the_index(goldens, entry, weights_at, inputs_at, status, capsys):
    add_drawn_golden(goldens, entry, weights_at=weights_at, inputs_at=inputs_at)
    assert run(goldens, "--only=semantic_codec") == status
    *lines, _ = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["codes", "encoded_slice"]
    assert all(line.endswith(" FAIL" if status else " ok") for line in lines)


def test_what_cannot_run_is_one_line(goldens, capsys, tmp_path):
    def error(*flags, folder=goldens):
        assert run(folder, *flags) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "index.json is missing" in error("--reference=" + str(tmp_path), folder=tmp_path / "specs")
    assert "no recipe.py and specs/ there" in error(f"--reference={goldens}")
    (goldens / "logmel.npz").write_bytes(b"no")
    assert "logmel.npz: " in error()
    for entry, message in (
        ({"config": {}, "arrays": {}, "seed": "1"}, "seed of 'logmel' is '1'; it must be an integer"),
        ({"config": {}, "arrays": {}, "seed": None}, "seed of 'logmel' is None"),
        ({"config": {}}, "entry 'logmel' has no 'arrays'"),
    ):
        edit_index(goldens, logmel=entry)
        assert message in error()
    (goldens / "strange.npz").write_bytes(b"")
    assert "golden 'strange' is unknown" in error()


def command(goldens):
    """The command as a user runs it: in a process of its own, without this suite's strictness."""
    line = [sys.executable, "-m", "metis_jax.convert.parity", f"--goldens={goldens}"]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=users_environment())


@pytest.mark.slow
@needs_reference
def test_every_reduced_golden():
    done = command(REFERENCE / "golden")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.full
@needs_reference
def test_every_golden_of_the_published_size():
    done = command(REFERENCE / "golden_full")
    assert done.returncode == 0, done.stdout + done.stderr

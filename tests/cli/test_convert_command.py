"""`convert.py`: exit codes, one line on stderr, nothing half-written."""

import flax
import numpy as np
import pytest
from official_folder import SEMANTIC_CODEC, write_official

from metis_jax.cli.convert import main
from metis_jax.config import SIZES, DurationPredictorConfig
from metis_jax.convert.official import convert_official
from metis_jax.convert.published import Root
from metis_jax.weights.bundle import Bundle, stored_shapes
from metis_jax.weights.bundle_writer import write_bundle


@pytest.fixture
def converted(tmp_path):
    """A bundle of one published component."""
    official = write_official(tmp_path / "official", [SEMANTIC_CODEC])
    return convert_official([Root(official)], tmp_path / "converted")


def run(*flags):
    return main([*flags])


def test_both_directions(tmp_path, capsys):
    official = write_official(tmp_path / "official", [SEMANTIC_CODEC])
    assert run(f"--official={official}", f"--output={tmp_path / 'bundle'}") == 0
    assert "licence of the weights: CC BY-NC 4.0" in capsys.readouterr().out
    assert list(Bundle(tmp_path / "bundle").components) == ["semantic_codec"]
    assert run(f"--bundle={tmp_path / 'bundle'}", f"--export={tmp_path / 'back'}") == 0
    assert (tmp_path / "back" / SEMANTIC_CODEC).is_file()


def test_a_duration_predictor_is_left_out(tmp_path, capsys, converted):
    config = SIZES["tiny"][DurationPredictorConfig]
    flat = {place: np.zeros(shape, np.float32) for place, shape in stored_shapes(config).items()}
    for name, others in (("both", [converted]), ("alone", [])):
        with write_bundle(tmp_path / name, license="MIT", provenance="zeros") as bundle:
            bundle.add("duration_predictor", config, flax.traverse_util.unflatten_dict(flat, sep="/"))
            for other in others:
                bundle.add("semantic_codec", *other.load("semantic_codec"))
    assert run(f"--bundle={tmp_path / 'both'}", f"--export={tmp_path / 'back'}") == 0
    assert "no place for it: duration_predictor" in capsys.readouterr().out.splitlines()[-1]
    assert [path.name for path in (tmp_path / "back").rglob("*.*")] == ["model.safetensors"]
    assert run(f"--bundle={tmp_path / 'alone'}", f"--export={tmp_path / 'none'}") == 2
    assert "'duration_predictor' has no place" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "give --official=DIR --output=BUNDLE, --whisper=DIR --output=BUNDLE or --bundle=BUNDLE --export=DIR"),
        (["--official={tmp}"], "give --official=DIR"),
        (["--official={tmp}", "--output={tmp}/b", "--bundle={tmp}"], "give --official=DIR"),
        (["--official={tmp}", "--whisper={tmp}", "--output={tmp}/b"], "give --official=DIR"),
        (["--whisper={tmp}", "--output={tmp}/b"], "no model.safetensors and no model.bin there"),
        (["--official={tmp}", "--output={tmp}/b"], "none of the published files is there"),
        (["--official={tmp}/no", "--output={tmp}/b"], "no: no such folder"),
        (["--bundle={tmp}", "--export={tmp}/b"], "not a bundle, config.json is missing"),
        (["--offical={tmp}", "--output={tmp}/b"], "Unknown command line flag 'offical'"),
        (["{tmp}"], "unexpected argument"),
        (["--official=hub:somebody/else", "--output={tmp}/b"], "hub:somebody/else"),
    ],
)
def test_failures_are_one_line_and_exit_2(tmp_path, capsys, flags, message):
    assert run(*(flag.format(tmp=tmp_path) for flag in flags)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("convert: ") and message in line
    assert list(tmp_path.iterdir()) == []


def test_help_shows_the_flags(capsys):
    assert run("--help") == 0
    assert "--official: Folders that hold the published repositories" in capsys.readouterr().out

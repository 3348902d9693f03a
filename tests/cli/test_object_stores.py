"""Every command refuses the address of a bucket by name, wherever a place is expected, and leaves nothing behind."""

import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUCKET = "gs://bucket/x"
TRAIN = ["--config=pretrain:quicktest", "--workdir=run"]
SWEEP = ["sweep", "--config=pretrain:tiny", "--sizes=64x2", "--budgets=1e12"]
BEAM = "--beam=--runner=DirectRunner"
# {command: (module, what else it is given, where a place is expected)}; "" is a word in place of a flag.
COMMANDS = {
    "metis-app": ("app", [], ["--bundle", "--voices", "--compilation_cache"]),
    "metis-assemble": ("assemble", ["--output=b", "--component=x=y"], ["--output", "--component=x"]),
    "metis-build-tfds": ("build_tfds", ["vctk", "--input=x", "--output=y"], ["--input", "--output"]),
    "metis-convert": ("convert", [], ["--official", "--whisper", "--output", "--bundle", "--export", "--statistics"]),
    "metis-evaluate": ("evaluate", [], ["--outputs", "--outputs=name", "--references", "--report", "--jobs"]),
    "metis-extract-tokens": (
        "extract_tokens",
        ["--bundle=nano", "--input=x", "--output=y", BEAM],
        ["--bundle", "--input", "--output"],
    ),
    "metis-hub": ("hub", ["card"], [""]),
    "metis-infer": ("infer", ["se"], ["", "--source", "--output", "--prompt", "--bundle", "--list"]),
    "metis-launch": ("launch", ["--", "--config=pretrain:quicktest"], ["--workdir"]),
    "metis-mouths": ("mouths", [], ["{} --output=x", "x --output", "x --output=y --landmarks"]),
    "metis-prepare": ("prepare", ["--input=x", "--output=y", BEAM], ["--input", "--output"]),
    "metis-scale": ("scale", SWEEP, ["--workdir", '--workdir=x --config.data.shards=("{}",)']),
    "metis-serve": ("serve", [], ["--bundle", "--voices"]),
    "metis-train": (
        "train",
        TRAIN,
        [
            *("--workdir", "--export", "--onto", "--compilation_cache"),
            *("--config.resume", "--config.initial.semantic_generator", "--config.base"),
            *('--config.data.shards=("{}",)', '--config.data.validation_shards=("{}",)'),
        ],
    ),
    "metis-tune": ("tune", ["se"], ["", "x --output", "x --noise", "x --workdir"]),
}
BEHIND = {"hub": ["owner/name"]}  # words behind a place that is one
FIT = ("scale", ["fit", "--runs=x"], ["--runs", "--plot"])
TEXTS_ALONE = {"metis-text"}  # reads texts, and no file
EXTRAS = {"metis-app": ("app", "gradio"), "metis-serve": ("serve", "uvicorn")}  # what a module imports first of all
CASES = [
    pytest.param(
        *(module, given, place),
        id=f"{name} {place}",
        marks=[pytest.mark.extra(*EXTRAS[name])] if name in EXTRAS else [],
    )
    for name, (module, given, places) in [*COMMANDS.items(), ("metis-scale fit", FIT)]
    for place in places
]


def test_every_command_is_here():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == set(COMMANDS) | TEXTS_ALONE


@pytest.mark.parametrize(("module", "given", "place"), CASES)
def test_a_bucket_is_refused_by_name(module, given, place, tmp_path, monkeypatch, capfd):
    command = importlib.import_module(f"metis_jax.cli.{module}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of processes that a command starts
    filled = place.format(BUCKET) if "{}" in place else f"{place}={BUCKET}" if place else BUCKET
    assert command.main([*given, *filled.split(), *BEHIND.get(module, [])]) == 2
    said = capfd.readouterr().err.splitlines()
    remedy = f"{BUCKET}: only folders of this machine are read and written; mount the bucket and name that"
    assert all(line.endswith(remedy) for line in said) and len(said) == (2 if module == "launch" else 1)
    assert not list(tmp_path.iterdir())

"""`config.base`: every fine-tuning experiment begins from the packaged bundle, and from one in the converted layout."""

import importlib
import pathlib

import pytest
from official_folder import write_official

from metis_jax.convert.official import convert_official
from metis_jax.convert.published import Root
from metis_jax.sharding import make_mesh
from metis_jax.training.experiment import read_config
from metis_jax.training.starts.initial import load_initial, without
from metis_jax.training.state import check_initial, make_layout
from metis_jax.training.trainers.registry import make_trainer
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.bundle_writer import write_bundle

ROOT = pathlib.Path(__file__).parents[3]
ENCODERS = ("ssl_encoder", "semantic_codec")
TASKS = ("se", "tse", "vc", "tts", "l2s", "omni")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A bundle as `convert.py` writes it, of reduced sizes."""
    folder = write_official(tmp_path_factory.mktemp("official"))
    return convert_official([Root(folder)], tmp_path_factory.mktemp("converted") / "bundle")


def read(name: str, words: str, base: str, **changes):
    section = importlib.import_module(f"configs.{name}").get_config(words).to_dict()
    return read_config(section | {"base": base} | changes)


def missing(config) -> dict[str, int]:
    """{component: leaves that its first weights leave to be drawn}; ValueError where those do not fit."""
    trainer = make_trainer(config.stage, config.model)
    initial = without(load_initial(config.initial), config.skip_initial)
    return check_initial(make_layout(trainer, config.optimizers, make_mesh(config.mesh)), initial)


@pytest.mark.parametrize(
    ("name", "component", "changes", "message"),
    [
        ("acoustic_codec", "acoustic_codec", {"strides": (2, 4, 5, 8)}, "acoustic_codec has hop 320; expected 480"),
        ("ssl_encoder", "ssl_encoder", {"sample_rate": 8000}, "ssl_encoder has sample_rate 8000; expected 16000"),
        ("ssl_encoder", "ssl_encoder", {"frame_stack": 4}, "ssl_encoder has hop 640; expected 320"),
        (
            "semantic_codec",
            "semantic_codec",
            {"feature_width": 9},
            "semantic_codec has feature_width 9, but",
        ),
    ],
)
def test_sizes_that_the_code_counts_with_are_refused_by_name(name, component, changes, message):
    section = importlib.import_module(f"configs.{name}").get_config("tiny").to_dict()
    section["model"][component] |= changes
    with pytest.raises(ValueError, match=f"^config.model: {message}"):
        read_config(section)


@pytest.mark.parametrize("words", ["full", "lora"])
@pytest.mark.parametrize("task", TASKS)
def test_every_fine_tuning_begins_from_the_packaged_bundle(task, words):
    config = read(f"finetune_{task}", words, "nano")
    found = missing(config)
    assert found.pop("semantic_generator") == 14 * (words == "lora") + (4 if task == "l2s" else 0)
    assert set(found.values()) <= {0}
    assert config.model["generator"]["codebook_size"] == 1024


@pytest.mark.parametrize("task", TASKS[:4])
@pytest.mark.parametrize("words", ["full", "lora"])
def test_fine_tuning_begins_from_a_converted_bundle(converted, task, words):
    config = read(f"finetune_{task}", words, str(converted.path))
    missing(config)
    # Extraction has an adapter on the base in this bundle, conversion nothing of its own.
    name = "semantic_generator_se" if task == "se" else "semantic_generator_base"
    assert config.initial["semantic_generator"] == f"{converted.path}:{name}"
    assert config.model["generator"]["width"] == converted.components[name].width


def test_nano_tasks_are_chosen_by_words():
    get_config = importlib.import_module("nano.configs.tasks").get_config
    for words, tasks in (("se,lora", ("se",)), ("", ("se", "tse", "vc"))):
        config = read_config(get_config(words).to_dict() | {"base": "nano"})
        assert config.tasks == tasks and [part.task for part in config.pipeline().parts] == list(tasks)
        assert missing(config)["semantic_generator"] == 14 * (words != "")


def test_stage_2_begins_from_the_generator_of_its_levels():
    for name, levels in (("first", 1), ("full", 4)):
        config = read(f"s2a_{name}", "", "nano")
        assert config.initial == {"acoustic_generator": f"{Bundle('nano').path}:acoustic_generator_{name}"}
        assert config.model["generator"]["num_levels"] == levels and missing(config) == {"acoustic_generator": 0}


def test_what_a_base_lacks_is_named(converted, tmp_path):
    with pytest.raises(ValueError, match="not a bundle"):
        read("finetune_se", "", str(tmp_path))
    named = read("finetune_se", "tiny", str(converted.path), initial={"ssl_encoder": "elsewhere"})
    assert named.initial["ssl_encoder"] == "elsewhere" and named.initial["semantic_codec"]
    with pytest.raises(ValueError, match="config.base has no ssl_encoder; give it as config.initial.ssl_encoder"):
        read("finetune_se", "", _without_encoder(converted, tmp_path / "other"))


def _without_encoder(bundle: Bundle, path) -> str:
    with write_bundle(path, license="MIT", provenance="a test") as writer:
        writer.copy(bundle, "semantic_generator_base")
        writer.copy(bundle, "semantic_codec")
    return str(path)

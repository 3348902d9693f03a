"""Bundles: what is written can be read, nothing appears when writing fails, bad ones are told in one line."""

import dataclasses
import json
import os
import shutil

import flax
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from metis_jax.config import SIZES, LoraConfig, SemanticCodecConfig, SemanticGeneratorConfig, SslEncoderConfig
from metis_jax.weights.bundle import Bundle, TaskAdapterConfig, stored_shapes
from metis_jax.weights.bundle_writer import write_bundle
from metis_jax.weights.tensor_files import WeightsError

CODEC = SIZES["tiny"][SemanticCodecConfig]
GENERATOR = SIZES["tiny"][SemanticGeneratorConfig]
ADAPTER = TaskAdapterConfig(base="generator", lora=LoraConfig(rank=2, alpha=4.0), condition_width=64)


def variables(config, base=None):
    draw = np.random.default_rng(0)
    flat = {path: draw.normal(size=shape).astype(np.float32) for path, shape in stored_shapes(config, base).items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def write(path):
    with write_bundle(path, license="Apache-2.0", provenance="drawn for a test") as bundle:
        bundle.add("codec", CODEC, variables(CODEC))
        bundle.add("generator", GENERATOR, variables(GENERATOR))
        bundle.add("adapter", ADAPTER, variables(ADAPTER, GENERATOR))
        bundle.task("se", "generator", "adapter")
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("bundle") / "b")


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_components_come_back(written):
    bundle = Bundle(written)
    config, loaded = bundle.load("codec")
    assert config == CODEC
    assert_equal(loaded, variables(CODEC))
    assert (bundle.info["license"], bundle.info["provenance"]) == ("Apache-2.0", "drawn for a test")
    assert bundle.names("semantic_generator") == ["generator"]


def test_a_task_adapter_is_joined_unmerged(written):
    generator = Bundle(written).load_generator("se")
    assert generator.config == dataclasses.replace(GENERATOR, condition="gated", condition_width=64)
    assert generator.lora == ADAPTER.lora
    adapter = variables(ADAPTER, GENERATOR)["params"]["condition_adapter"]
    assert_equal(generator.variables["params"]["condition_adapter"], adapter)
    assert_equal(generator.variables["params"]["to_logits"], variables(GENERATOR)["params"]["to_logits"])


def test_a_task_adapter_may_bring_the_phones(tmp_path):
    adapter = dataclasses.replace(ADAPTER, condition="none", phone_vocabulary=7)
    own = variables(adapter, GENERATOR)
    assert own["params"]["phone_embedding"]["table"].shape == (7, 64)
    assert set(own["params"]) == {"phone_embedding", "phone_mlp", "transformer"}
    with write_bundle(tmp_path / "b", license="none", provenance="drawn for a test") as bundle:
        bundle.add("generator", GENERATOR, variables(GENERATOR))
        bundle.add("adapter", adapter, own)
        bundle.task("tts", "generator", "adapter")
    generator = Bundle(tmp_path / "b").load_generator("tts")
    assert generator.config == dataclasses.replace(GENERATOR, condition="none", condition_width=64, phone_vocabulary=7)
    assert_equal(generator.variables["params"]["phone_embedding"], own["params"]["phone_embedding"])


def test_parameters_are_cast_on_loading(written):
    _, loaded = Bundle(written).load("codec", dtype="bfloat16")
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(loaded)} == {"bfloat16"}


def test_a_smaller_dtype_on_disk_is_loaded_as_float32(tmp_path):
    with write_bundle(tmp_path / "b", license="x", provenance="y") as bundle:
        bundle.add("codec", CODEC, jax.tree.map(lambda leaf: leaf.astype(np.float16), variables(CODEC)))
    _, loaded = Bundle(tmp_path / "b").load("codec")
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(loaded)} == {"float32"}


def test_statistics_keep_their_dtype(tmp_path):
    config = dataclasses.replace(SIZES["tiny"][SslEncoderConfig], num_layers=1, hidden_layer=1)
    with write_bundle(tmp_path / "b", license="x", provenance="y") as bundle:
        bundle.add("ssl_encoder", config, variables(config))
    _, loaded = Bundle(tmp_path / "b").load("ssl_encoder", dtype="bfloat16")
    assert loaded["statistics"]["mean"].dtype == np.float32
    assert loaded["params"]["feature_projection"]["kernel"].dtype == "bfloat16"


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), write_bundle(tmp_path / "b", license="x", provenance="y") as bundle:
        bundle.add("codec", CODEC, variables(CODEC))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_not_touched(written):
    before = (written / "config.json").read_bytes()
    with pytest.raises(WeightsError, match="exists already"), write_bundle(written, license="x", provenance="y"):
        pass
    assert (written / "config.json").read_bytes() == before


def test_wrong_variables_are_refused_when_writing(tmp_path):
    wrong = variables(CODEC)
    del wrong["params"]["quantizer"]["codebook"]
    with (
        pytest.raises(WeightsError, match=r"codec: tensor 'params/quantizer/codebook' is missing, expected shape"),
        write_bundle(tmp_path / "b", license="x", provenance="y") as bundle,
    ):
        bundle.add("codec", CODEC, wrong)
    with (
        pytest.raises(ValueError, match="needs its base 'generator'"),
        write_bundle(tmp_path / "b", license="x", provenance="y") as bundle,
    ):
        bundle.add("adapter", ADAPTER, variables(ADAPTER, GENERATOR))


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", "", ".", ".hidden", "a\0b", "é", "x" * 101])
def test_a_component_lies_in_its_bundle(tmp_path, name):
    with (
        pytest.raises(ValueError, match="^component name is "),
        write_bundle(tmp_path / "b", license="x", provenance="y") as bundle,
    ):
        bundle.add(name, CODEC, variables(CODEC))
    assert list(tmp_path.iterdir()) == []


def test_two_components_of_one_name_and_tasks_without_any_are_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="two components are called 'codec'"),
        write_bundle(tmp_path / "b", license="x", provenance="y") as bundle,
    ):
        bundle.add("codec", CODEC, variables(CODEC))
        bundle.add("codec", CODEC, variables(CODEC))
    with (
        pytest.raises(ValueError, match="task 'se' needs component 'generator', which is not listed"),
        write_bundle(tmp_path / "b", license="x", provenance="y") as bundle,
    ):
        bundle.task("se", "generator")


def _info(**changes):
    def damage(path):
        info = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(info | changes))

    return damage


def _component(key, value):
    def damage(path):
        info = json.loads((path / "config.json").read_text())
        info["components"]["codec"][key] = value
        (path / "config.json").write_text(json.dumps(info))

    return damage


def _configured(**fields):
    """The generator with other sizes."""

    def damage(path):
        info = json.loads((path / "config.json").read_text())
        info["components"]["generator"]["config"] |= fields
        (path / "config.json").write_text(json.dumps(info))

    return damage


def _renamed(name):
    def damage(path):
        info = json.loads((path / "config.json").read_text())
        info["components"][name] = info["components"].pop("codec")
        (path / "config.json").write_text(json.dumps(info))

    return damage


def _pipe(name):
    def damage(path):
        (path / name).unlink()
        os.mkfifo(path / name)

    return damage


def _tensors(change):
    def damage(path):
        tensors = load_file(path / "codec.safetensors")
        change(tensors)
        save_file(tensors, path / "codec.safetensors")

    return damage


def _cut(path):
    file = path / "codec.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


BAD = {
    "no config": (lambda path: (path / "config.json").unlink(), "not a bundle, config.json is missing"),
    "not JSON": (lambda path: (path / "config.json").write_text("{"), "not valid JSON"),
    "a list": (lambda path: (path / "config.json").write_text("[]"), "found 'list'"),
    "other format": (_info(format="x"), "expected format 'metis_jax bundle', found 'x'"),
    "newer": (_info(version=99), "expected format version 1 or older, found 99; update metis_jax"),
    "version text": (_info(version="1"), "expected a format version up to 1, found '1'"),
    "no components": (_info(components=None), "damaged"),
    "deep": (lambda path: (path / "config.json").write_text('{"a":' * 10_000), "not valid JSON (nested too deeply)"),
    "huge": (lambda path: (path / "config.json").write_text("1" * 5000), "does not fit 64 bits"),
    "pipe": (_pipe("config.json"), "config.json: is not a regular file"),
    "pipe of tensors": (_pipe("codec.safetensors"), "codec.safetensors: is not a regular file"),
    "version true": (_info(version=True), "expected a format version up to 1, found True"),
    "encoders": (_component("encoders", {"ssl_encoder": 1}), "has encoders {'ssl_encoder': 1}; expected texts by name"),
    "encoders list": (_component("encoders", [1]), "damaged"),
    "kind list": (_component("kind", ["x"]), "damaged"),
    "component list": (_info(components={"codec": [1]}), "component 'codec' is [1]; expected an object"),
    "decoding list": (_info(decoding=[1]), "damaged"),
    "name above": (_renamed("../codec"), "component name is '../codec'; use up to 100 letters"),
    "absolute name": (_renamed("/codec"), "component name is '/codec'"),
    "long name": (_renamed("c" * 300), "component name is 'ccc"),
    "config list": (_component("config", []), "codec is []; expected fields by name"),
    "width zero": (_configured(width=0), "generator: width is 0; expected 1 to"),
    "width negative": (_configured(width=-64), "generator: width is -64; expected 1 to"),
    "width huge": (_configured(width=10**12), "generator: width is 1000000000000; expected 1 to"),
    "width float": (_configured(width=64.0), "generator.width is 64.0; expected an integer"),
    "width true": (_configured(width=True), "generator.width is True; expected an integer"),
    "layers": (_configured(num_layers=10**6), "generator: num_layers is 1000000; expected 1 to 1000"),
    "heads zero": (_configured(num_heads=0), "num_heads is 0; expected 1 to"),
    "heads odd": (_configured(num_heads=7), "width 64 is not a multiple of num_heads 7"),
    "condition list": (_configured(condition=["gated"]), "generator.condition is ['gated']; expected a text"),
    "task list": (_info(tasks={"se": {"generator": ["generator"]}}), "generator is ['generator']; expected a text"),
    "task text": (_info(tasks={"se": "generator"}), "task 'se' is 'generator'; expected fields by name"),
    "task of a codec": (_info(tasks={"se": {"generator": "codec"}}), "needs a semantic_generator, but 'codec' is a"),
    "task plain": (_info(tasks={"se": {"generator": "generator"}}), "task 'se': its generator has no condition"),
    "task mute": (_info(tasks={"tts": {"generator": "generator"}}), "task 'tts': its generator has no phones"),
    "no adapter": (
        _info(tasks={"se": {"generator": "generator", "adapter": "codec"}}),
        "task 'se' needs a task_adapter, but 'codec' is a semantic_codec",
    ),
    "integers": (
        _tensors(lambda t: t.update({"params/quantizer/codebook": np.ones((128, 4), np.int32)})),
        "tensor 'params/quantizer/codebook' is of int32; expected floating-point numbers",
    ),
    "not finite": (
        _tensors(lambda t: t["params/quantizer/codebook"].__setitem__((3, 1), np.nan)),
        "tensor 'params/quantizer/codebook' holds numbers that are not finite in float32",
    ),
    "too large": (
        _tensors(lambda t: t.update({"params/quantizer/codebook": np.full((128, 4), 1e200)})),
        "holds numbers that are not finite in float32",
    ),
    "unknown kind": (_component("kind", "vocoder"), "component 'codec' is of unknown kind 'vocoder'"),
    "unknown field": (_component("config", {"depth": 3}), "codec has no field 'depth'"),
    "dangling task": (_info(tasks={"se": {"generator": "gone"}}), "task 'se' needs component 'gone'"),
    "no file": (lambda path: (path / "codec.safetensors").unlink(), "codec.safetensors: file is missing"),
    "missing": (
        _tensors(lambda t: t.pop("params/quantizer/codebook")),
        "codec.safetensors: tensor 'params/quantizer/codebook' is missing, expected shape [128, 4]",
    ),
    "misshapen": (
        _tensors(lambda t: t.update({"params/quantizer/codebook": np.ones((128, 3), np.float32)})),
        "tensor 'params/quantizer/codebook': expected shape [128, 4], found [128, 3]",
    ),
    "extra": (_tensors(lambda t: t.update(x=np.ones(2))), "tensor 'x' of shape [2] is not expected"),
    "truncated": (_cut, "codec.safetensors: truncated or damaged, expected"),
    "other config": (_component("config", {"num_layers": 5}), "expected shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_bundles_are_told_in_one_line(written, tmp_path, case):
    damage, message = BAD[case]
    damage(shutil.copytree(written, tmp_path / "b"))
    with pytest.raises(ValueError) as caught:
        Bundle(tmp_path / "b").load("codec")
    assert message in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_a_bundle_lacks_is_said_with_what_it_has(written):
    with pytest.raises(WeightsError, match="no component 'vocoder'; it has: codec, generator, adapter"):
        Bundle(written).load("vocoder")
    with pytest.raises(WeightsError, match="no model for task 'tts'; it has: se"):
        Bundle(written).load_generator("tts")
    with pytest.raises(WeightsError, match="nowhere: not a bundle"):
        Bundle(written / "nowhere")

"""The published folders to a bundle and back, what goes wrong on the way, and how much memory it takes."""

import os
import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import official_folder
import pytest
import recipe
from official_folder import SEMANTIC_CODEC, STATISTICS, write_official
from safetensors.numpy import load_file, save_file

from metis_jax.config import AcousticCodecConfig, LoraConfig, SemanticGeneratorConfig
from metis_jax.convert.components import StatisticsFile
from metis_jax.convert.official import convert_official, export_official
from metis_jax.convert.published import PUBLISHED, Root, download
from metis_jax.convert.transformer import num_heads
from metis_jax.weights.bundle import Bundle, Serving
from metis_jax.weights.tensor_files import WeightsError


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    return write_official(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def bundle(official, tmp_path_factory):
    return convert_official([Root(official)], tmp_path_factory.mktemp("converted") / "bundle")


def read(path):
    return load_file(path) if path.suffix == ".safetensors" else dict(np.load(path))


def test_every_tensor_comes_back_bit_for_bit(official, bundle, tmp_path):
    export_official(bundle, tmp_path / "back")
    files = {path.relative_to(official) for path in official.rglob("*.*") if path.is_file()}
    assert len(files) == len(official_folder.FILES) + 1
    assert files == {p.relative_to(tmp_path / "back") for p in (tmp_path / "back").rglob("*.*") if p.is_file()}
    for path in files:
        before, after = read(official / path), read(tmp_path / "back" / path)
        assert set(before) == set(after), path
        for name, tensor in before.items():
            assert (tensor.shape, tensor.dtype) == (after[name].shape, after[name].dtype), (path, name)
            assert tensor.tobytes() == after[name].tobytes(), (path, name)


def test_sizes_and_tasks_are_read_from_the_files(bundle):
    assert bundle.components["acoustic_codec"] == AcousticCodecConfig(
        encoder_width=8, latent_width=32, num_levels=5, codebook_size=64, decoder_width=48, decoder_mlp_width=96,
        decoder_layers=3,
    )  # fmt: skip
    assert bundle.components["ssl_encoder"].hidden_layer == 3
    assert bundle.components["acoustic_generator_first"].num_levels == 1
    assert bundle.components["adapter_tse"].lora == LoraConfig(rank=4, alpha=8.0)
    assert bundle.tasks == {
        "se": Serving("semantic_generator_se"),
        "tse": Serving("semantic_generator_base", "adapter_tse"),
    }
    assert bundle.info["license"] == "CC BY-NC 4.0"
    assert bundle.info["sample_rates"] == {"ssl_encoder": 16000, "acoustic_codec": 24000}


def test_heads_are_those_of_the_release():
    assert [num_heads(width) for width in (1536, 1024, 64)] == [16, 16, 4]


def test_an_adapter_is_joined_to_its_base(bundle):
    generator = bundle.load_generator("tse")
    assert isinstance(generator.config, SemanticGeneratorConfig) and generator.config.condition == "gated"
    params = generator.variables["params"]
    query = params["transformer"]["layers"]["attention"]["query"]
    assert query["kernel"].shape == (3, 64, 64) and query["lora"]["down"].shape == (3, 64, 4)
    assert params["condition_adapter"]["gate"].shape == (1,)
    assert bundle.load_generator("se").lora is None


def test_of_the_ssl_encoder_only_the_layers_in_use_are_loaded(bundle):
    config, variables = bundle.load("ssl_encoder")
    assert config.num_layers == config.hidden_layer == 3 and bundle.components["ssl_encoder"].num_layers == 4
    assert variables["params"]["layers"]["final_norm"]["scale"].shape == (3, 64)
    assert bundle.file("ssl_encoder").shapes["params/layers/final_norm/scale"] == (4, 64)
    assert "unused" not in variables


@pytest.mark.parametrize("place", ["", "amphion", "amphion/MaskGCT"])
def test_a_folder_may_be_the_repository_or_above(official, tmp_path, place):
    bundle = convert_official([Root(official / place)], tmp_path / "bundle", only="semantic_codec")
    assert list(bundle.components) == ["semantic_codec"]


def test_statistics_may_lie_elsewhere(tmp_path):
    folder = write_official(tmp_path / "official", ["facebook/w2v-bert-2.0/model.safetensors"])
    (folder / STATISTICS).rename(tmp_path / "stats.npz")
    with pytest.raises(WeightsError, match="wav2vec2bert_stats.npz is missing beside it; name it with --statistics"):
        convert_official([Root(folder)], tmp_path / "bundle")
    bundle = convert_official([Root(folder)], tmp_path / "bundle", statistics=tmp_path / "stats.npz")
    assert bundle.load("ssl_encoder")[1]["statistics"]["mean"].shape == (64,)


def _tensors(change):
    def damage(path):
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return damage


def _drop_layer(tensors):
    for name in [name for name in tensors if name.startswith("decoder.0.convnext.2.")]:
        del tensors[name]


BAD = {
    "missing": (
        _tensors(lambda t: t.pop("encoder.0.convnext.1.dwconv.bias")),
        "tensor 'encoder.0.convnext.1.dwconv.bias' is missing, expected shape [24]",
    ),
    "missing first": (_tensors(lambda t: t.pop("encoder.1.weight")), "tensor 'encoder.1.weight' is missing"),
    "extra": (_tensors(lambda t: t.update(new=np.ones(3))), "tensor 'new' of shape [3] is not expected"),
    "misshapen": (
        _tensors(lambda t: t.update({"encoder.0.norm.bias": np.ones(25, np.float32)})),
        "tensor 'encoder.0.norm.bias': expected shape [24], found [25]",
    ),
    "misshapen stack": (
        _tensors(lambda t: t.update({"encoder.0.convnext.2.gamma": np.ones(9, np.float32)})),
        "tensor 'encoder.0.convnext.2.gamma': expected shape [24], found [9]",
    ),
    "wrong rank": (
        _tensors(lambda t: t.update({"encoder.0.embed.weight": np.ones((24, 64), np.float32)})),
        "tensor 'encoder.0.embed.weight': expected axes [o, i, k], found shape [24, 64]",
    ),
    "short stack": (
        _tensors(_drop_layer),
        "tensor 'decoder.0.convnext.2.dwconv.weight' is missing, expected shape [24, 1, 7]",
    ),
    "mixed dtypes": (
        _tensors(lambda t: t.update({"encoder.0.convnext.2.gamma": np.ones(24, np.float16)})),
        "tensor 'encoder.0.convnext.2.gamma': expected dtype float32, found float16",
    ),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated or damaged"),
    "pickle": (lambda path: path.write_bytes(b"\x80\2}q\0." * 99), "not a safetensors file"),
    "other model": (
        _tensors(lambda t: (t.clear(), t.update(recipe.state_dict(official_folder.shapes("mini_s2a_model_1layer"))))),
        "tensor 'encoder.0.convnext.0.pwconv1.weight' is missing",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named_and_leave_nothing(tmp_path, case):
    damage, message = BAD[case]
    path = write_official(tmp_path / "official", [SEMANTIC_CODEC]) / SEMANTIC_CODEC
    damage(path)
    with pytest.raises(WeightsError) as caught:
        convert_official([Root(tmp_path / "official")], tmp_path / "bundle")
    text = str(caught.value)
    assert text.startswith(str(path)) and message in text and "\n" not in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["official"]


def test_a_file_in_the_wrong_place_is_told(official, tmp_path):
    path = tmp_path / "amphion/metis/metis_base/model.safetensors"
    path.parent.mkdir(parents=True)
    path.symlink_to(official / SEMANTIC_CODEC)
    with pytest.raises(WeightsError, match=f"{path}: tensor 'diff_estimator.* is missing$"):
        convert_official([Root(tmp_path)], tmp_path / "bundle")


def test_half_of_a_pair_of_files_is_named(official, tmp_path):
    (tmp_path / "amphion/MaskGCT/acoustic_codec").mkdir(parents=True)
    file = "amphion/MaskGCT/acoustic_codec/model_1.safetensors"
    (tmp_path / file).symlink_to(official / file)
    with pytest.raises(WeightsError, match="codec/model.safetensors is missing, but .*model_1.safetensors needs it"):
        convert_official([Root(tmp_path)], tmp_path / "bundle")


def test_wrong_folders_and_taken_names_are_told(official, tmp_path):
    with pytest.raises(WeightsError, match="none of the published files is there, for example amphion/MaskGCT"):
        convert_official([Root(tmp_path)], tmp_path / "bundle")
    with pytest.raises(WeightsError, match="nowhere: no such folder"):
        convert_official([Root(tmp_path / "nowhere")], tmp_path / "bundle")
    (tmp_path / "taken").mkdir()
    with pytest.raises(WeightsError, match="taken: exists already"):
        convert_official([Root(official)], tmp_path / "taken")


def test_conversion_holds_one_stacked_tensor_at_a_time(tmp_path):
    spec = official_folder.shapes("tiny_stage1_base")
    layers, width, hidden = 12, 128, 512
    resized = {}
    for name, shape in spec.items():
        shape = [{64: width, 256: hidden}.get(size, size) for size in shape]
        for layer in range(layers if ".layers.0." in name else 1):
            resized[name.replace(".layers.0.", f".layers.{layer}.")] = shape
    path = tmp_path / "amphion/metis/metis_base/model.safetensors"
    path.parent.mkdir(parents=True)
    save_file(recipe.state_dict({name: shape for name, shape in resized.items() if ".layers.12." not in name}), path)
    largest = 4 * layers * width * hidden
    convert_official([Root(tmp_path)], tmp_path / "first")  # traces the model, which allocates on its own account
    tracemalloc.start()
    bundle = convert_official([Root(tmp_path)], tmp_path / "second")
    converting = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    export_official(bundle, tmp_path / "back")
    exporting = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 4 * largest
    assert largest < converting < 1.5 * largest and exporting < 1.5 * largest


def test_the_hub_is_asked_for_what_is_read(official, tmp_path, monkeypatch):
    asked, revisions = {}, []

    def snapshot_download(repository, revision, allow_patterns):
        revisions.append(revision)
        asked[repository] = allow_patterns
        return str(official / repository)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    roots = [download("amphion/MaskGCT"), download("facebook/w2v-bert-2.0")]
    bundle = convert_official(roots, tmp_path / "bundle", only="s*")
    assert set(bundle.components) == {"ssl_encoder", "semantic_codec"}
    assert "semantic_codec/model.safetensors" in asked["amphion/MaskGCT"]
    assert asked["facebook/w2v-bert-2.0"] == ["model.safetensors"]
    download("amphion/MaskGCT@0123")
    download("amphion/metis")
    *known, own, newest = revisions
    assert all(len(revision) == 40 for revision in known) and (own, newest) == ("0123", None)


def test_statistics_that_can_not_be_used_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    np.savez(tmp_path / "large.npz", mean=np.full(3, 1e300), var=np.ones(3))
    np.savez(tmp_path / "whole.npz", mean=np.arange(3), var=np.ones(3))
    np.savez(tmp_path / "pickled.npz", mean=np.array([{}], object), var=np.ones(3))
    (tmp_path / "text.npz").write_text("mean, var")
    reasons = {"pipe": "is not a regular file", "large": "mean: holds numbers that are not finite, or too large"}
    reasons |= {"whole": "mean: holds int64", "pickled": "mean.npy: holds object", "text": "not an .npz file"}
    for name, reason in reasons.items():
        with pytest.raises(WeightsError, match=f"{name}.npz: {reason}.*; expected an .npz file with the arrays mean"):
            StatisticsFile(tmp_path / f"{name}.npz")


def test_hub_failures_are_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"needs huggingface_hub; pip install 'metis_jax\[hub\]'"):
        download("amphion/MaskGCT")

    def fail(repository, revision, allow_patterns):
        raise OSError("no route to host\nmore")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=fail))
    with pytest.raises(WeightsError, match=r"hub:amphion/metis: download failed \(no route to host\)"):
        download("amphion/metis")
    with pytest.raises(WeightsError, match="not a repository of the release; use amphion/MaskGCT, amphion/metis"):
        download("somebody/else")


def test_no_published_file_is_claimed_twice():
    paths = [path for entry in PUBLISHED for path in entry.files]
    names = [entry.component for entry in PUBLISHED]
    assert len(paths) == len(set(paths)) and len(names) == len(set(names))


def test_a_bundle_of_other_components_cannot_be_exported(bundle, tmp_path):
    other = Bundle(bundle.path)
    other.components["mine"] = other.components["semantic_codec"]
    with pytest.raises(WeightsError, match="component 'mine' has no place in the published layout"):
        export_official(other, tmp_path / "back")

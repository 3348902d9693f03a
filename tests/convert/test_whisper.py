"""Whisper's encoder from either kind of folder to the same bundle, of which only what is run is read."""

import dataclasses
import os
import struct

import numpy as np
import pytest
import recipe
from safetensors.numpy import save_file

from metis_jax.cli.convert import main
from metis_jax.config import WhisperEncoderConfig
from metis_jax.convert.whisper import convert_whisper
from metis_jax.convert.whisper_encoder import PREFIX, RULES
from metis_jax.weights.bundle import UNUSED, Bundle, stored_shapes
from metis_jax.weights.tensor_files import WeightsError

CONFIG = WhisperEncoderConfig(mel_bins=8, width=64, num_layers=2, hidden_layer=1, num_heads=1, mlp_width=32)


@pytest.fixture(scope="module")
def tensors():
    """The encoder as transformers names it, in float16."""
    width = CONFIG.width
    shapes = {path: shape for path, shape in stored_shapes(CONFIG).items() if not path.startswith("statistics")}
    shapes |= {f"{UNUSED}/{name}": (width,) for name in ("final_norm/scale", "final_norm/bias")}
    shapes |= {f"{UNUSED}/positions": (10, width)}
    drawn = recipe.state_dict(recipe.official_shapes(RULES, shapes))
    return {name: tensor.astype(np.float16) for name, tensor in drawn.items()}


def as_ctranslate2(tensors):
    """The same under the names of CTranslate2: one projection for queries, keys and values, bias of the keys zero."""
    found = {"decoder/embeddings/weight": np.ones((3, 4), np.int8), "encoder/num_heads": np.asarray(1, np.int16)}
    for name, tensor in tensors.items():
        parts = name.removeprefix(PREFIX).split(".")
        kind = parts[-1]
        if parts[0] != "layers":
            stem = {"embed_positions": "position_encodings", "layer_norm": "layer_norm"}.get(parts[0], parts[0])
            leaf = {"layer_norm": {"weight": "gamma", "bias": "beta"}[kind], "embed_positions": "encodings"}
            found[f"encoder/{stem}/{leaf.get(parts[0], kind)}"] = tensor
            continue
        layer, which = f"encoder/layer_{parts[1]}", parts[-2]
        if which in ("self_attn_layer_norm", "final_layer_norm"):
            block = "self_attention" if which.startswith("self") else "ffn"
            found[f"{layer}/{block}/layer_norm/{'gamma' if kind == 'weight' else 'beta'}"] = tensor
        elif which in ("fc1", "fc2"):
            found[f"{layer}/ffn/linear_{int(which[2]) - 1}/{kind}"] = tensor
        elif which == "out_proj":
            found[f"{layer}/self_attention/linear_1/{kind}"] = tensor
        elif which == "q_proj":
            stem = name.removesuffix(f"q_proj.{kind}")
            rest = [tensors.get(f"{stem}{x}_proj.{kind}", np.zeros_like(tensor)) for x in "kv"]
            found[f"{layer}/self_attention/linear_0/{kind}"] = np.concatenate([tensor, *rest])
    return found


def write_ctranslate2(path, tensors, version=6):
    kinds = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}

    def text(value):
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    data = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(tensors))
    for name, tensor in tensors.items():
        data += text(name) + struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape)
        data += struct.pack("<BI", kinds[tensor.dtype.name], tensor.nbytes) + tensor.tobytes()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data + struct.pack("<I", 0))


def write_transformers(path, tensors):
    path.parent.mkdir(exist_ok=True)
    save_file(tensors | {"model.decoder.layer_norm.bias": np.zeros(4, np.float16)}, path)


def arrays(bundle):
    file = bundle.file("ssl_encoder")
    return {name: file.read(name) for name in file.specs}


def test_both_kinds_of_folder_give_the_same_bundle(tmp_path, tensors, capsys):
    write_transformers(tmp_path / "hf" / "model.safetensors", tensors)
    write_ctranslate2(tmp_path / "ct2" / "model.bin", as_ctranslate2(tensors))
    for kind in ("hf", "ct2"):
        assert main([f"--whisper={tmp_path / kind}", f"--output={tmp_path / kind}_bundle"]) == 0
    assert "ssl_encoder; licence of the weights: MIT" in capsys.readouterr().out
    one, other = (Bundle(tmp_path / f"{kind}_bundle") for kind in ("hf", "ct2"))
    assert one.components == other.components == {"ssl_encoder": CONFIG}
    assert arrays(one).keys() == arrays(other).keys()
    for name, array in arrays(one).items():
        assert array.dtype == (np.float32 if name.startswith("statistics") else np.float16)
        np.testing.assert_array_equal(array, arrays(other)[name])
    query = np.stack([tensors[f"{PREFIX}layers.{i}.self_attn.q_proj.weight"].T for i in range(2)])
    np.testing.assert_array_equal(arrays(one)["params/layers/query/kernel"], query)


def test_only_the_layers_that_are_run_are_read(tmp_path, tensors):
    write_transformers(tmp_path / "hf" / "model.safetensors", tensors)
    config, variables = convert_whisper(tmp_path / "hf", tmp_path / "bundle").load("ssl_encoder")
    assert config == dataclasses.replace(CONFIG, num_layers=CONFIG.hidden_layer)
    assert variables["params"].keys() == {"conv1", "conv2", "layers"}
    assert variables["params"]["layers"]["mlp_in"]["kernel"].shape == (1, 64, 32)


def test_what_can_not_be_read_is_named(tmp_path, tensors):
    theirs = as_ctranslate2(tensors)
    path = tmp_path / "ct2" / "model.bin"
    quantised = "encoder/layer_0/ffn/linear_0/weight"

    def refused(message):
        with pytest.raises(WeightsError, match=message):
            convert_whisper(path.parent, tmp_path / "bundle")
        assert not (tmp_path / "bundle").exists()

    write_ctranslate2(path, theirs | {quantised: np.ones((32, 64), np.int8)})
    refused(f"tensor '{quantised}' is quantised; convert it to float16 or float32")
    write_ctranslate2(path, theirs, version=5)
    refused("expected a WhisperSpec of version 6, found WhisperSpec 5")
    write_ctranslate2(path, {name: tensor for name, tensor in theirs.items() if name != "encoder/conv1/bias"})
    refused("tensor 'model.encoder.conv1.bias' is missing")
    write_ctranslate2(path, theirs)
    path.write_bytes(path.read_bytes()[:2000])
    refused("truncated")
    write_ctranslate2(path, theirs | {"encoder/conv1/bias": np.asarray(1, np.float16)})
    refused("tensor 'encoder/conv1/bias' is a single number")
    write_ctranslate2(path, theirs)
    path.write_bytes(path.read_bytes().replace(struct.pack("<BI", 1, 64), struct.pack("<BI", 1, 2**31), 1))
    refused("truncated or damaged at tensor")
    path.unlink()
    os.mkfifo(path)
    refused("model.bin: is not a regular file|no model")
    path.unlink()
    path.write_bytes(b"RIFF")
    refused("not a CTranslate2 model")

"""Whisper's encoder in a CTranslate2 file (`model.bin`), under the names that transformers gives its tensors.

The format (python/ctranslate2/specs/model_spec.py, binary version 6): the model's name and revision, then every tensor
as name, rank, sizes, dtype, byte count and little-endian data.
"""

import math
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from metis_jax.convert.whisper_encoder import PREFIX
from metis_jax.files.inputs import InputError, check_regular
from metis_jax.weights.tensor_files import TensorSpec, WeightsError

_VERSION = 6
_FLOATS = {0: np.dtype("<f4"), 4: np.dtype("<f2")}
_OTHERS = (1, 2, 3, 5)  # integers and bfloat16

_LAYER = re.compile(r"layer_(\d+)/(.*)")
_NAMES = {
    "conv1/weight": "conv1.weight",
    "conv1/bias": "conv1.bias",
    "conv2/weight": "conv2.weight",
    "conv2/bias": "conv2.bias",
    "position_encodings/encodings": "embed_positions.weight",
    "layer_norm/gamma": "layer_norm.weight",
    "layer_norm/beta": "layer_norm.bias",
}
_LAYER_NAMES = {
    "self_attention/layer_norm/gamma": "self_attn_layer_norm.weight",
    "self_attention/layer_norm/beta": "self_attn_layer_norm.bias",
    "self_attention/linear_1/weight": "self_attn.out_proj.weight",
    "self_attention/linear_1/bias": "self_attn.out_proj.bias",
    "ffn/layer_norm/gamma": "final_layer_norm.weight",
    "ffn/layer_norm/beta": "final_layer_norm.bias",
    "ffn/linear_0/weight": "fc1.weight",
    "ffn/linear_0/bias": "fc1.bias",
    "ffn/linear_1/weight": "fc2.weight",
    "ffn/linear_1/bias": "fc2.bias",
}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")  # one below the other in linear_0


def _parts(name: str) -> Iterator[tuple[str, int]]:
    """(name in transformers, which third of the rows or -1 for all) of what a tensor of the encoder holds."""
    layer = _LAYER.fullmatch(name)
    if name in _NAMES:
        yield PREFIX + _NAMES[name], -1
    elif layer:
        stem = f"{PREFIX}layers.{layer[1]}."
        if layer[2] in _LAYER_NAMES:
            yield stem + _LAYER_NAMES[layer[2]], -1
        elif layer[2] in ("self_attention/linear_0/weight", "self_attention/linear_0/bias"):
            kind = layer[2].rpartition("/")[2]
            for third, projection in enumerate(_PROJECTIONS):
                # The keys' bias is zero in Whisper, and no tensor of its own elsewhere.
                if (projection, kind) != ("k_proj", "bias"):
                    yield f"{stem}self_attn.{projection}.{kind}", third


class CTranslate2File:
    """The encoder's tensors of a `model.bin`, in the manner of `TensorFile`; floats only."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.specs: dict[str, TensorSpec] = {}
        self._starts: dict[str, int] = {}
        try:
            check_regular(self.path)
            with open(self.path, "rb") as file:
                self._read_header(file)
        except InputError as error:
            raise WeightsError(str(error)) from None
        except OSError as error:
            raise WeightsError(f"{self.path}: cannot be read ({error.strerror})") from None
        except (struct.error, UnicodeDecodeError):
            raise WeightsError(f"{self.path}: truncated or not a CTranslate2 model") from None

    def _read_header(self, file) -> None:
        size = os.fstat(file.fileno()).st_size

        def number(letter: str) -> int:
            return struct.unpack(f"<{letter}", file.read(struct.calcsize(f"<{letter}")))[0]

        def text() -> str:
            return file.read(number("H")).decode().rstrip("\0")

        version, model = number("I"), text()
        if version != _VERSION or model != "WhisperSpec":
            raise WeightsError(f"{self.path}: expected a WhisperSpec of version {_VERSION}, found {model} {version}")
        number("I")  # revision
        for _ in range(number("I")):
            name, shape = text(), tuple(number("I") for _ in range(number("B")))
            kind, nbytes = number("B"), number("I")
            start = file.tell()
            is_whole = kind in _OTHERS or (kind in _FLOATS and nbytes == TensorSpec(shape, _FLOATS[kind]).nbytes)
            if start + nbytes > size or not is_whole:
                raise WeightsError(f"{self.path}: truncated or damaged at tensor {name!r}")
            file.seek(nbytes, os.SEEK_CUR)
            for official, third in _parts(name.removeprefix("encoder/")) if name.startswith("encoder/") else ():
                if kind not in _FLOATS:
                    raise WeightsError(f"{self.path}: tensor {name!r} is quantised; convert it to float16 or float32")
                if not shape:
                    raise WeightsError(f"{self.path}: tensor {name!r} is a single number; expected a stack")
                rows = shape[0] // 3 if third >= 0 else shape[0]
                spec = TensorSpec((rows, *shape[1:]), _FLOATS[kind])
                self.specs[official] = spec
                self._starts[official] = start + max(third, 0) * spec.nbytes

    def read(self, name: str) -> np.ndarray:
        shape, dtype = self.specs[name]
        return np.fromfile(self.path, dtype, count=math.prod(shape), offset=self._starts[name]).reshape(shape)

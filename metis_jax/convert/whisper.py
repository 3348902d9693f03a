"""Whisper's encoder to a bundle of one component, from the folder of a model as it is published or packaged."""

from pathlib import Path

import numpy as np

from metis_jax.convert.components import (
    Progress,
    StatisticsFile,
    Tensors,
    TensorSource,
    config_from_shapes,
    stream,
)
from metis_jax.convert.ctranslate2 import CTranslate2File
from metis_jax.convert.whisper_encoder import PREFIX
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.bundle_writer import write_bundle
from metis_jax.weights.tensor_files import TensorFile, WeightsError, spec_of

KIND, COMPONENT = "whisper_encoder", "ssl_encoder"
LICENSE = "MIT"
PROVENANCE = "the encoder of Whisper (OpenAI), converted from its published weights"


class NoStatistics:
    """Mean 0 and variance 1 of features that nobody has measured, in the manner of `TensorFile`."""

    path = "no statistics"

    def __init__(self, width: int):
        self._arrays = {"mean": np.zeros(width, np.float32), "var": np.ones(width, np.float32)}
        self.specs = {name: spec_of(array) for name, array in self._arrays.items()}

    def read(self, name: str) -> np.ndarray:
        return self._arrays[name]


class EncoderOf:
    """The encoder's tensors of a file that holds the whole model."""

    def __init__(self, file: TensorFile):
        self.path, self.read = file.path, file.read
        self.specs = {name: spec for name, spec in file.specs.items() if name.startswith(PREFIX)}


def open_whisper(folder: Path) -> TensorSource:
    """The encoder in `model.safetensors` (openai/whisper-*) or `model.bin` (CTranslate2) of a folder."""
    if (folder / "model.safetensors").is_file():
        return EncoderOf(TensorFile(folder / "model.safetensors"))
    if (folder / "model.bin").is_file():
        return CTranslate2File(folder / "model.bin")
    raise WeightsError(f"{folder}: no model.safetensors and no model.bin there; expected the folder of a Whisper model")


def convert_whisper(
    folder: Path, output: Path, *, statistics: Path | None = None, progress: Progress | None = None
) -> Bundle:
    """Writes a bundle, which must not exist, whose `ssl_encoder` is Whisper's.

    `statistics` is a `.npz` with mean and var of its features; without one they stay as they are.
    """
    encoder = open_whisper(folder)
    shapes = {name: spec.shape for name, spec in encoder.specs.items()}
    config = config_from_shapes(KIND, shapes, file=str(encoder.path))
    tensors = Tensors([encoder, StatisticsFile(statistics) if statistics else NoStatistics(config.feature_width)])
    with write_bundle(output, license=LICENSE, provenance=PROVENANCE) as bundle:
        stream(bundle, COMPONENT, config, tensors, progress=progress)
    return Bundle(output)

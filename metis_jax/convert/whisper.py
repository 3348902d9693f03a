"""Whisper's encoder to a bundle of one component, from the folder of a model as it is published or packaged."""

from pathlib import Path

from metis_jax.bundle import Bundle, write_bundle
from metis_jax.convert.components import Progress, Tensors, TensorSource, config_from_shapes, stream
from metis_jax.convert.ctranslate2 import CTranslate2File
from metis_jax.convert.whisper_encoder import PREFIX
from metis_jax.tensor_files import TensorFile, WeightsError

COMPONENT = "whisper_encoder"
LICENSE = "MIT"
PROVENANCE = "the encoder of Whisper (OpenAI), converted from its published weights"


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


def convert_whisper(folder: Path, output: Path, *, progress: Progress | None = None) -> Bundle:
    """Writes a bundle, which must not exist, with the component `whisper_encoder`."""
    tensors = Tensors([open_whisper(folder)])
    shapes = {name: spec.shape for name, spec in tensors.specs.items()}
    config = config_from_shapes(COMPONENT, shapes, file=tensors.file)
    with write_bundle(output, license=LICENSE, provenance=PROVENANCE) as bundle:
        stream(bundle, COMPONENT, config, tensors, progress=progress)
    return Bundle(output)

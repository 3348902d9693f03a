"""YIN beside librosa's."""

import librosa
import numpy as np
import pytest
from synthetic_voice import voice

from metis_jax.audio.yin import yin

RATE, WINDOW, HOP = 16_000, 1024, 320


@pytest.mark.slow  # librosa compiles its own for forty seconds
@pytest.mark.parametrize("kind", ["voice", "noise", "zeros"])
def test_pitches_are_those_of_librosa(kind):
    noise = np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    wave = {"voice": voice(3, 1.5).astype(np.float32), "noise": noise, "zeros": 0 * noise}[kind]
    due = librosa.yin(wave, fmin=60, fmax=400, sr=RATE, frame_length=WINDOW, hop_length=HOP)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, WINDOW // 2), WINDOW)[::HOP]
    found = yin(frames, RATE, 60.0, 400.0)
    assert found.shape == due.shape and np.mean(np.abs(found - due) < 1e-3 * due) > 0.97

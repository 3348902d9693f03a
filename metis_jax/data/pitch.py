"""The pitch of a voice, and a voice moved to the pitch of another."""

import librosa
import numpy as np
from jaxtyping import Float

from metis_jax.data.audio import rms
from metis_jax.data.perturb import move_voice

_RANGE_HZ = (60.0, 400.0)
_WINDOW, _HOP = 0.064, 0.02  # seconds
_MAXIMUM_RATIO = 2.0


def median_pitch(wave: Float[np.ndarray, " l"], rate: int) -> float:
    """Hz, over the louder two fifths of the frames, which are mostly voiced (YIN); 0 where there is no sound."""
    window, hop = round(_WINDOW * rate), round(_HOP * rate)
    if len(wave) < window or not rms(wave):
        return 0.0
    shape = {"frame_length": window, "hop_length": hop}
    pitch = librosa.yin(wave, fmin=_RANGE_HZ[0], fmax=_RANGE_HZ[1], sr=rate, **shape)
    level = librosa.feature.rms(y=wave, **shape)[0]
    return float(np.median(pitch[level >= np.quantile(level, 0.6)]))


def match_pitch(wave: Float[np.ndarray, " l"], voice: Float[np.ndarray, " k"], rate: int) -> Float[np.ndarray, " l"]:
    """`wave` at the median pitch of `voice`, at most an octave away; its formants, timing and level stay."""
    own, wanted = median_pitch(wave, rate), median_pitch(voice, rate)
    if not own or not wanted:
        return wave
    ratio = float(np.clip(wanted / own, 1 / _MAXIMUM_RATIO, _MAXIMUM_RATIO))
    moved = move_voice(wave, rate, np.zeros(2), pitch_ratio=ratio)
    return np.clip(moved * np.float32(rms(wave) / max(rms(moved), 1e-9)), -1.0, 1.0).astype(np.float32)

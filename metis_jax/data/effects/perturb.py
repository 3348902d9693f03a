"""Timbre perturbation for voice conversion: the same words, the same timing, another voice.

The release made its source voices with a light voice conversion system; here pitch, formants and spectral balance are
moved instead (NANSY, arXiv 2110.14513), in one pass over the short-time spectrum: the smooth envelope is moved along
frequency while the fine structure stays, and a phase vocoder stretches what is then resampled to the old length.

Every draw has to be another voice, or a model learns to leave the source's voice as it is: the d-vectors of
`evaluation/speakers.py` have a similarity of 0.45 between a wave and its perturbed one, where two utterances of a
speaker have 0.91 and those of two speakers 0.35 (13 speakers of LibriSpeech and VCTK, 6 draws each).
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from metis_jax.audio.voice import move_voice
from metis_jax.data.effects.degrade import Range, Rng, check_probability, check_range


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerturbConfig:
    """How far a voice is moved.

    Attributes:
      probability: share of waves that are touched at all.
      pitch_semitones: size of the pitch shift; the sign is drawn evenly.  Below 3 the voice stays.
      formant_ratio: size of the formant shift as a ratio above 1; inverted for half of the draws.  The same for 1.15.
      equalizer_db: the gain curve is drawn between plus and minus this at `equalizer_points` frequencies, log-spaced.
    """

    probability: float = 1.0
    pitch_semitones: Range = (3.0, 8.0)
    formant_ratio: Range = (1.15, 1.35)
    equalizer_db: float = 8.0
    equalizer_points: int = 6

    def __post_init__(self):
        check_probability("perturb", self.probability)
        check_range("perturb.pitch_semitones", self.pitch_semitones, 0.0, 24.0)
        check_range("perturb.formant_ratio", self.formant_ratio, 1.0, 2.0)
        if self.equalizer_points < 2 or self.equalizer_db < 0:
            raise ValueError(
                f"perturb.equalizer_points is {self.equalizer_points}, equalizer_db {self.equalizer_db}; "
                "need at least 2 points and a gain of 0 or more"
            )


def perturb(rng: Rng, wave: Float[np.ndarray, " l"], rate: int, config: PerturbConfig) -> Float[np.ndarray, " l"]:
    """The wave in another timbre: as long, as loud (in RMS) and in step with the original."""
    if rng.random() >= config.probability or not len(wave):
        return wave
    semitones = rng.uniform(*config.pitch_semitones) * rng.choice((-1, 1))
    ratio = rng.uniform(*config.formant_ratio) ** rng.choice((-1, 1))
    gain = rng.uniform(-config.equalizer_db, config.equalizer_db, config.equalizer_points)
    pitch = 2 ** (semitones / 12) if abs(semitones) > 0.05 else 1.0
    out = move_voice(wave, rate, gain, pitch_ratio=float(pitch), formant_ratio=float(ratio))
    level, after = np.sqrt(np.mean(wave**2)), np.sqrt(np.mean(out**2))
    return np.clip(out * np.float32(level / max(after, 1e-9)), -1.0, 1.0).astype(np.float32)

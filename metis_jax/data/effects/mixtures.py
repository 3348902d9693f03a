"""Target-speaker mixtures made on the fly: the target and other voices, each at its own loudness and place.

After LibriMix (arXiv 2005.11262), whose voices have -33 to -25 dB each and overlap from end to end (its "min" mode).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from metis_jax.data.effects.degrade import LOUDEST_DB, Range, Rng, check_range

_FRAME = 320  # samples over which a level is one, 20 ms


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """Interfering speech over a target.

    Attributes:
      interferers: fewest and most other voices.
      loudness_db: level of every voice, the target too, where it speaks; drawn for each, so that the target lies up to
        8 dB above or below another.
      overlap: share of the target's length that an interferer may cover; it is placed at random.
    """

    interferers: tuple[int, int] = (1, 1)
    loudness_db: Range = (-33.0, -25.0)
    overlap: Range = (0.8, 1.0)

    def __post_init__(self):
        check_range("mixture.interferers", self.interferers, 1, 100)
        check_range("mixture.loudness_db", self.loudness_db, -LOUDEST_DB, 0.0)
        check_range("mixture.overlap", self.overlap, 0.0, 1.0)

    def count(self, rng: Rng) -> int:
        return int(rng.integers(self.interferers[0], self.interferers[1] + 1))


def speech_level(wave: Float[np.ndarray, " l"]) -> float:
    """RMS of a voice where it speaks: over the frames at most 10 dB below the mean of all (BS.1770's relative gate)."""
    whole = len(wave) // _FRAME * _FRAME or len(wave)
    power = np.mean(np.square(wave[:whole], dtype=np.float64).reshape(-1, min(whole, _FRAME)), axis=1)
    return float(np.sqrt(np.mean(power[power >= 0.1 * power.mean()])))


def mixed_voices(
    rng: Rng, target: Float[np.ndarray, " l"], others: Sequence[np.ndarray], config: MixtureConfig
) -> Float[np.ndarray, "n l"]:
    """The target, unmoved, and `others` laid over it; their sum is the mixture.

    An interferer that is longer than its share of the target is cut at random; a silent voice stays silent.
    """

    def gain(wave: np.ndarray) -> np.float32:
        return np.float32(10 ** (rng.uniform(*config.loudness_db) / 20) / max(speech_level(wave), 1e-9))

    voices = np.zeros((1 + len(others), len(target)), np.float32)
    voices[0] = target * gain(target)
    for voice, other in zip(voices[1:], others, strict=True):
        length = min(len(other), max(1, int(rng.uniform(*config.overlap) * len(target))))
        start_in_other = int(rng.integers(len(other) - length + 1))
        start = int(rng.integers(len(target) - length + 1))
        voice[start : start + length] = other[start_in_other : start_in_other + length] * gain(other)
    return voices

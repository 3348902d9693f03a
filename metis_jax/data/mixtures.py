"""Target-speaker mixtures made on the fly: the target, one or more other voices, each at its own level and place."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from metis_jax.data.audio import rms
from metis_jax.data.degrade import Range, Rng, check_range


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """Interfering speech over a target.

    Attributes:
      interferers: fewest and most other voices.
      sir_db: level of the target over each interferer, both measured where they speak.
      overlap: share of the target's length that an interferer may cover; it is placed at random.
    """

    interferers: tuple[int, int] = (1, 1)
    sir_db: Range = (-5.0, 5.0)
    overlap: Range = (0.6, 1.0)

    def __post_init__(self):
        check_range("mixture.interferers", self.interferers, 1)
        check_range("mixture.sir_db", self.sir_db)
        check_range("mixture.overlap", self.overlap, 0.0, 1.0)

    def count(self, rng: Rng) -> int:
        return int(rng.integers(self.interferers[0], self.interferers[1] + 1))


def mix(
    rng: Rng, target: Float[np.ndarray, " l"], others: Sequence[np.ndarray], config: MixtureConfig
) -> Float[np.ndarray, " l"]:
    """The target with `others` laid over it; as long as the target, and the target's samples unchanged in place."""
    mixture = target.astype(np.float32, copy=True)
    for other in others:
        length = min(len(other), max(1, int(rng.uniform(*config.overlap) * len(target))))
        start_in_other = int(rng.integers(len(other) - length + 1))
        start = int(rng.integers(len(target) - length + 1))
        piece = other[start_in_other : start_in_other + length]
        level, sir = rms(piece), rng.uniform(*config.sir_db)
        if level > 0:
            mixture[start : start + length] += piece * np.float32(rms(target) / level * 10 ** (-sir / 20))
    return mixture

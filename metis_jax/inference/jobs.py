"""What one example asks of a stage, on the host and without padding."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from metis_jax.decoding.masked_decode import Sampling
from metis_jax.types import Float, Int

# Numbers that are folded into a random key one after the other: the user's seed, the window, the stage.
Seed = tuple[int, ...]

MOST_STEPS = 128  # of a level
MOST = 100.0  # of guidance and temperatures: beyond it logits lose what they say in float32


@dataclasses.dataclass(frozen=True)
class SemanticJob:
    """Stage 1: `length` frames, of which the first are known.

    `phone_positions` are the frames at which phones are said, for a generator that wants to be told.
    """

    known: Int[np.ndarray, " k"]
    length: int
    seed: Seed
    phones: Int[np.ndarray, " p"] | None = None
    phone_positions: Float[np.ndarray, " p"] | None = None
    condition: Float[np.ndarray, "t c"] | None = None


@dataclasses.dataclass(frozen=True)
class AcousticJob:
    """Stage 2: one frame per SSL token, of which the first are known at every level."""

    semantic: Int[np.ndarray, " t"]
    known: Int[np.ndarray, "k q"]
    seed: Seed


@dataclasses.dataclass(frozen=True)
class StageSettings:
    """How a stage is decoded.

    Attributes:
      steps: per level; the last number stands for all levels that follow.
      guidance: weight of classifier-free guidance; 0 leaves the unconditional pass out.
      temperature: of the tokens; it falls linearly over the steps of a level.
      choice_temperature: of the noise on the confidences.  Both temperatures zero decode without noise.
    """

    steps: tuple[int, ...]
    guidance: float
    temperature: float
    choice_temperature: float = 1.0

    def __post_init__(self):
        if not self.steps or not all(1 <= count <= MOST_STEPS for count in self.steps):
            raise ValueError(f"steps is {list(self.steps)}; expected numbers from 1 to {MOST_STEPS}")
        for name in ("guidance", "temperature", "choice_temperature"):
            value = getattr(self, name)
            if not 0 <= value <= MOST:
                raise ValueError(f"{name} is {value}; expected a number from 0 to {MOST:g}")

    def steps_of(self, num_levels: int) -> tuple[int, ...]:
        """Steps of each of `num_levels` levels."""
        return (self.steps + self.steps[-1:] * num_levels)[:num_levels]

    def sampling(self, is_droppable: bool) -> Sampling:
        """As arrays.  Without anything that the unconditional pass could drop both passes are one."""
        is_guided = self.guidance != 0 and is_droppable
        return Sampling(
            jnp.float32(self.temperature),
            jnp.float32(self.choice_temperature),
            jnp.float32(self.guidance) if is_guided else None,
        )

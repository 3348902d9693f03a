"""DNSMOS P.835: opinion scores that a network predicts from the output alone (Reddy et al. 2022, arXiv 2110.01763)."""

import dataclasses

import numpy as np
from jaxtyping import Float

from metis_jax.evaluation.errors import Unmeasurable, require

RATE = 16_000
_SHORTEST_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Opinion:
    """Predicted scores from 1 to 5: of the speech signal, of the background, and overall."""

    signal: float
    background: float
    overall: float


def dnsmos(wave: Float[np.ndarray, " l"], rate: int) -> Opinion:
    """DNSMOS of one wave at 16 kHz (the package speechmos, which carries the model).

    The network hears 9.01 s.  Shorter waves are repeated to that length, as its authors do, so scores of very short
    ones say little.
    """
    package = require("speechmos.dnsmos")
    if rate != RATE:
        raise ValueError(f"rate is {rate}; DNSMOS takes {RATE}")
    if len(wave) < _SHORTEST_SECONDS * rate:
        raise Unmeasurable(f"shorter than {_SHORTEST_SECONDS} s")
    wave = wave / max(1.0, float(np.abs(wave).max()))  # the package refuses samples beyond full scale
    scores = package.run(wave.astype(np.float32), RATE)
    return Opinion(float(scores["sig_mos"]), float(scores["bak_mos"]), float(scores["ovrl_mos"]))

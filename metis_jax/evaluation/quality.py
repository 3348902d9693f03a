"""Opinion scores that networks predict from the output alone, without a reference."""

import contextlib
import dataclasses
import functools
import io
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from metis_jax.evaluation.errors import Unmeasurable, require

RATE = 16_000
_SHORTEST_SECONDS = 0.5
_MOS_COMMAND = 'pip install "metis_jax[mos]"'


@dataclasses.dataclass(frozen=True)
class Opinion:
    """Predicted scores from 1 to 5: of the speech signal, of the background, and overall."""

    signal: float
    background: float
    overall: float


def dnsmos(wave: Float[np.ndarray, " l"], rate: int) -> Opinion:
    """DNSMOS P.835 of one wave at 16 kHz (Reddy et al. 2022, arXiv 2110.01763; speechmos, which carries the model).

    The network hears 9.01 s.  Shorter waves are repeated to that length, as its authors do, so scores of very short
    ones say little.
    """
    package = require("speechmos.dnsmos")
    _check(wave, rate, "DNSMOS")
    wave = wave / max(1.0, float(np.abs(wave).max()))  # the package refuses samples beyond full scale
    scores = package.run(wave.astype(np.float32), RATE)
    return Opinion(float(scores["sig_mos"]), float(scores["bak_mos"]), float(scores["ovrl_mos"]))


def distillmos(wave: Float[np.ndarray, " l"], rate: int) -> float:
    """DistillMOS of one wave at 16 kHz, 1 to 5 (Stahl and Gamper 2025, arXiv 2502.05356; the package distillmos).

    A small network that learned from one on XLS-R what listeners think of speech, whatever was done to it.  The package
    carries the model, and needs torch.
    """
    score = _distilled()
    _check(wave, rate, "DistillMOS")
    return score(wave.astype(np.float32))


@functools.cache
def _distilled() -> Callable[[Float[np.ndarray, " l"]], float]:
    """The network, loaded once."""
    package, torch = require("distillmos", _MOS_COMMAND), require("torch", _MOS_COMMAND)
    with contextlib.redirect_stdout(io.StringIO()):  # it says where its weights lie
        model = package.ConvTransformerSQAModel().eval()

    def score(wave: Float[np.ndarray, " l"]) -> float:
        with torch.inference_mode():
            return float(model(torch.from_numpy(wave)[None])[0])

    return score


def _check(wave: Float[np.ndarray, " l"], rate: int, name: str) -> None:
    """ValueError for another rate; Unmeasurable for what is too short to have an opinion of."""
    if rate != RATE:
        raise ValueError(f"rate is {rate}; {name} takes {RATE}")
    if len(wave) < _SHORTEST_SECONDS * rate:
        raise Unmeasurable(f"shorter than {_SHORTEST_SECONDS} s")

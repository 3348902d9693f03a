"""Timbre perturbation for voice conversion: the same words, the same timing, another voice.

The release made its source voices with a light voice conversion system; here pitch, formants and spectral balance are
moved instead (NANSY, arXiv 2110.14513).  The pitch shift is librosa's; formants and equaliser are one pass over the
short-time spectrum, where the smooth envelope is moved along frequency and the fine structure stays.
"""

import dataclasses

import librosa
import numpy as np
import scipy.fft
from jaxtyping import Float

from metis_jax.data.audio import fit
from metis_jax.data.degrade import Range, Rng, check_probability, check_range


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerturbConfig:
    """How far a voice is moved.

    Attributes:
      probability: share of waves that are touched at all.
      pitch_semitones: size of the pitch shift; the sign is drawn evenly.
      formant_ratio: size of the formant shift as a ratio above 1; inverted for half of the draws.
      equalizer_db: the gain curve is drawn between plus and minus this at `equalizer_points` frequencies, log-spaced.
    """

    probability: float = 1.0
    pitch_semitones: Range = (0.0, 5.0)
    formant_ratio: Range = (1.0, 1.3)
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


def _envelope(log_magnitude: Float[np.ndarray, "f t"], lifter: int) -> Float[np.ndarray, "f t"]:
    """The smooth part of a log spectrum: its first `lifter` cepstral coefficients."""
    cepstrum = scipy.fft.dct(log_magnitude, type=1, axis=0)
    cepstrum[lifter:] = 0.0
    return scipy.fft.idct(cepstrum, type=1, axis=0)


def reshape_spectrum(
    wave: Float[np.ndarray, " l"], rate: int, formant_ratio: float, gain_db: Float[np.ndarray, " p"]
) -> Float[np.ndarray, " l"]:
    """Moves formants by `formant_ratio` and applies gains at log-spaced frequencies from 60 Hz to half the rate."""
    size = 1024 if rate <= 24_000 else 2048
    spectrum = librosa.stft(wave, n_fft=size, hop_length=size // 4)
    frequency = np.arange(spectrum.shape[0]) * rate / size
    # 2 ms of cepstrum: wider than any formant, shorter than the period of a 500 Hz voice.
    envelope = _envelope(np.log(np.abs(spectrum) + 1e-5), max(8, round(0.002 * rate)))
    source = frequency / formant_ratio * size / rate
    low = np.minimum(source.astype(int), len(frequency) - 2)
    part = np.clip(source - low, 0.0, 1.0)[:, None]
    moved = envelope[low] * (1 - part) + envelope[low + 1] * part
    points = np.geomspace(60.0, rate / 2, len(gain_db))
    gain = np.interp(np.log(np.maximum(frequency, 1.0)), np.log(points), gain_db)[:, None] * (np.log(10) / 20)
    # A hole in the envelope must not become a 60 dB peak.
    change = np.clip(moved - envelope, -4.0, 4.0) + gain
    return librosa.istft(spectrum * np.exp(change), hop_length=size // 4, length=len(wave)).astype(np.float32)


def perturb(rng: Rng, wave: Float[np.ndarray, " l"], rate: int, config: PerturbConfig) -> Float[np.ndarray, " l"]:
    """The wave in another timbre: as long, as loud (in RMS) and in step with the original."""
    if rng.random() >= config.probability or not len(wave):
        return wave
    semitones = rng.uniform(*config.pitch_semitones) * rng.choice((-1, 1))
    ratio = rng.uniform(*config.formant_ratio) ** rng.choice((-1, 1))
    gain = rng.uniform(-config.equalizer_db, config.equalizer_db, config.equalizer_points)
    shifted = wave
    if abs(semitones) > 0.05:
        shifted = librosa.effects.pitch_shift(wave, sr=rate, n_steps=float(semitones), res_type="soxr_hq", n_fft=1024)
        # The shift moved the formants too: take that back, so that `formant_ratio` is what is heard.
        ratio = ratio / 2 ** (semitones / 12)
    out = reshape_spectrum(fit(shifted, len(wave)), rate, float(ratio), gain)
    level, after = np.sqrt(np.mean(wave**2)), np.sqrt(np.mean(out**2))
    return np.clip(out * np.float32(level / max(after, 1e-9)), -1.0, 1.0).astype(np.float32)

"""Measures that compare an output with a clean reference of the same performance, sample by sample or frame by frame.

All take mono waves at one rate.  They assume that both start together: none of them searches for a delay, except PESQ,
which aligns by itself.  A vocoder is free to choose phases, so SI-SDR says little about generated speech.
"""

import warnings

import librosa
import numpy as np
from jaxtyping import Float

from metis_jax.evaluation.errors import Unmeasurable, require

Samples = Float[np.ndarray, " l"]

RATE = 16_000
LARGEST_RATIO_DB = 100.0  # of two equal waves the ratio would be infinite, and so would be any mean with it
_SHORTEST_SECONDS = 0.5
_MEL_BINS, _MEL_FFT, _MEL_HOP = 80, 1024, 256
_MEL_FLOOR = 1e-5
_F0_HOP, _F0_FEWEST_FRAMES = 320, 10


def aligned(reference: Float[np.ndarray, " r"], output: Float[np.ndarray, " o"], rate: int) -> tuple[Samples, Samples]:
    """Both waves cut to the shorter; refused where the lengths differ by over 0.1 s and 5%, for then timing does."""
    shorter, longer = sorted((len(reference), len(output)))
    if longer - shorter > max(0.1 * rate, 0.05 * longer):
        lengths = f"{len(reference) / rate:.2f} s and {len(output) / rate:.2f} s"
        raise Unmeasurable(f"lengths of reference and output differ: {lengths}")
    if shorter < _SHORTEST_SECONDS * rate:
        raise Unmeasurable(f"shorter than {_SHORTEST_SECONDS} s")
    return reference[:shorter], output[:shorter]


def si_sdr(reference: Samples, output: Samples) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, any rate (Le Roux et al. 2019, arXiv 1811.02508), zero-mean."""
    reference = reference.astype(np.float64) - np.mean(reference, dtype=np.float64)
    output = output.astype(np.float64) - np.mean(output, dtype=np.float64)
    energy = np.dot(reference, reference)
    if energy == 0 or not output.any():
        raise Unmeasurable("is silent")
    target = np.dot(output, reference) / energy * reference
    error = output - target
    with np.errstate(divide="ignore", over="ignore"):
        ratio = 10 * np.log10(np.dot(target, target) / max(np.dot(error, error), np.finfo(np.float64).tiny))
    return float(np.clip(ratio, -LARGEST_RATIO_DB, LARGEST_RATIO_DB))


def _log_mel(wave: Samples, rate: int) -> Float[np.ndarray, "m t"]:
    mel = librosa.feature.melspectrogram(
        y=wave, sr=rate, n_fft=_MEL_FFT, hop_length=_MEL_HOP, n_mels=_MEL_BINS, power=1
    )
    return 20 * np.log10(np.maximum(mel, _MEL_FLOOR))


def mel_distance(reference: Samples, output: Samples, rate: int) -> float:
    """Mean absolute difference in dB of 80 mel bands of the magnitude, frames 1024/256, floor 1e-5 (-100 dB)."""
    return float(np.mean(np.abs(_log_mel(reference, rate) - _log_mel(output, rate))))


def stoi(reference: Samples, output: Samples, rate: int) -> float:
    """Short-time objective intelligibility, 0 to 1 (Taal et al. 2011, the package pystoi); it works at 10 kHz."""
    package = require("pystoi")
    with warnings.catch_warnings():
        # The package warns and returns 1e-5 when too few frames are left after silence is cut.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(package.stoi(reference, output, rate))
        except RuntimeWarning:
            raise Unmeasurable("too little speech: under 0.4 s after silence is cut") from None


def pesq(reference: Samples, output: Samples, rate: int) -> float:
    """Wide-band PESQ, 1.0 to 4.6 (ITU-T P.862.2, the package pesq), at 16 kHz only."""
    package = require("pesq")
    if rate != RATE:
        raise ValueError(f"rate is {rate}; wide-band PESQ takes {RATE}")
    try:
        return float(package.pesq(rate, reference, output, "wb"))
    except package.NoUtterancesError:
        raise Unmeasurable("PESQ finds no utterance") from None
    except package.PesqError as error:
        raise Unmeasurable(f"PESQ: {type(error).__name__}") from None


def f0_error(reference: Samples, output: Samples, rate: int) -> float:
    """Mean absolute pitch difference in semitones over the frames (20 ms) that both waves voice; pYIN of librosa."""
    pitch = [
        librosa.pyin(
            wave, fmin=60, fmax=500, sr=rate, frame_length=1024 * rate // RATE, hop_length=_F0_HOP * rate // RATE
        )[0]
        for wave in (reference, output)
    ]
    difference = 12 * np.abs(np.log2(pitch[0] / pitch[1]))
    voiced = np.isfinite(difference)
    if voiced.sum() < _F0_FEWEST_FRAMES:
        raise Unmeasurable(f"only {voiced.sum()} frames are voiced in both")
    return float(difference[voiced].mean())


def duration_error(reference: Float[np.ndarray, " r"], output: Float[np.ndarray, " o"]) -> float:
    """How far the output's length is from the reference's, as a part of the latter; both at one rate."""
    return abs(len(output) / len(reference) - 1)

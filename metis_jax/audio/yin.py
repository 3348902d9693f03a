"""The pitch of a voice over time by YIN (de Cheveigné and Kawahara, 2002), as librosa computes it."""

import numpy as np
import scipy.fft
from jaxtyping import Float

_CLEAR = 0.1  # a dip of the normalised difference below this is a period


def yin(frames: Float[np.ndarray, "t w"], rate: int, lowest: float, highest: float) -> Float[np.ndarray, " t"]:
    """Hz of each frame, from `lowest` to `highest`: some value too where there is no voice."""
    shortest = int(rate // highest)
    longest = min(int(np.ceil(rate / lowest)), frames.shape[1] - 1)
    difference = _normalised_difference(frames, shortest, longest)
    left, middle, right = difference[:, :-2], difference[:, 1:-1], difference[:, 2:]
    is_dip = np.zeros(difference.shape, bool)
    is_dip[:, 0] = difference[:, 0] < difference[:, 1]
    is_dip[:, 1:-1] = (middle < left) & (middle <= right)
    is_dip[:, -1] = difference[:, -1] < difference[:, -2]
    is_clear = is_dip & (difference < _CLEAR)
    period = np.where(is_clear.any(axis=1), is_clear.argmax(axis=1), difference.argmin(axis=1))
    # The lowest point of the parabola through a dip and its neighbours.
    bend, slope = left + right - 2 * middle, (right - left) / 2
    shift = np.zeros_like(difference)
    np.divide(-slope, bend, out=shift[:, 1:-1], where=np.abs(slope) < np.abs(bend))
    return rate / (shortest + period + np.take_along_axis(shift, period[:, None], axis=1)[:, 0])


def _normalised_difference(frames: Float[np.ndarray, "t w"], shortest: int, longest: int) -> Float[np.ndarray, "t p"]:
    """How much a frame differs from itself a period later, beside the mean over all shorter periods."""
    size = scipy.fft.next_fast_len(2 * frames.shape[1] - 1, real=True)
    power = np.abs(scipy.fft.rfft(frames, size, axis=1)) ** 2
    same = scipy.fft.irfft(power, size, axis=1)[:, : longest + 1]
    energy = np.cumsum(np.square(frames), axis=1)
    energy[:, 0] = 0  # as librosa has it
    difference = 2 * (same[:, :1] - same[:, 1:]) - energy[:, :longest]
    mean = np.cumsum(difference, axis=1) / np.arange(1, longest + 1)
    return difference[:, shortest - 1 :] / (mean[:, shortest - 1 :] + np.finfo(mean.dtype).tiny)

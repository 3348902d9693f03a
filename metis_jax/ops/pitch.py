"""Pitch: how it is heard in a wave, and the pulses of a voice that has it; always float32.

The tracker is the autocorrelation method of Praat (Boersma 1993, "Accurate short-term analysis of the fundamental
frequency and the harmonics-to-noise ratio of a sampled sound") without its search for the best path: frames that it
gets wrong are few, and what learns from it takes the median.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.ops.lengths import valid_mask
from metis_jax.ops.stft import frame, hann_window
from metis_jax.types import Array, Float, Int

RANGE_HZ = (60.0, 500.0)
VOICED = 0.5  # strength from which on a frame counts as voiced

_WINDOW_SECONDS = 0.064  # four periods of the lowest pitch
_HIGHEST_HZ = 4000.0  # the first harmonics are enough, and those above are noisy
# Lags are finer than samples: between them the peak of a high voice would be missed, and be lower than that of two
# periods.
_LAGS_PER_WINDOW = 2048
# Two periods repeat as well as one: of lags that fit almost equally well the shortest is meant.
_OCTAVE_COST = 0.03
_SILENCE = 0.02  # of a row's loudest frame


class Pitch(NamedTuple):
    """Of every frame.

    Attributes:
      hertz: within `RANGE_HZ`, also where there is no voice.
      strength: the autocorrelation at its period, 1 for what repeats exactly; 0 in silence.
    """

    hertz: Float[Array, "b t"]
    strength: Float[Array, "b t"]


def track_pitch(wave: Float[Array, "b l"], sample_rate: int, hop: int) -> Pitch:
    """Pitch of ceil(l / hop) frames."""
    width = round(_WINDOW_SECONDS * sample_rate)
    t = -(-wave.shape[1] // hop)
    sides = ((width - hop) // 2, width)
    frames = frame(jnp.pad(wave.astype(jnp.float32), ((0, 0), sides)), width, hop)[:, :t]
    window = hann_window(width)[None, None, :]
    frames = (frames - jnp.mean(frames, axis=-1, keepdims=True)) * window
    level = jnp.sqrt(jnp.mean(jnp.square(frames), axis=-1))

    rate = _LAGS_PER_WINDOW * sample_rate / width
    first, last = math.ceil(rate / RANGE_HZ[1]), math.floor(rate / RANGE_HZ[0])
    repeats = _autocorrelation(frames, last + 2, sample_rate) / _autocorrelation(window, last + 2, sample_rate)
    cost = _OCTAVE_COST * np.log2(np.arange(first, last + 1) / first).astype(np.float32)
    fits = repeats[..., first : last + 1]
    is_peak = (fits >= repeats[..., first - 1 : last]) & (fits >= repeats[..., first + 1 : last + 2])
    best = jnp.argmax(jnp.where(is_peak, fits - cost[None, None, :], jnp.float32(-1)), axis=-1) + first

    strength = jnp.take_along_axis(repeats, best[..., None], axis=-1)[..., 0]
    is_loud = level > _SILENCE * jnp.max(level, axis=1, keepdims=True) + jnp.float32(1e-4)
    return Pitch(rate / best.astype(jnp.float32), jnp.where(is_loud, jnp.clip(strength, 0, 1), jnp.float32(0)))


def _autocorrelation(x: Float[Array | np.ndarray, "b t k"], lags: int, sample_rate: int) -> Float[Array, "b t lags"]:
    """Of what lies below `_HIGHEST_HZ`, at `_LAGS_PER_WINDOW` lags per window, relative to the first."""
    width = 2 * x.shape[-1]
    power = jnp.square(jnp.abs(jnp.fft.rfft(x, n=width)))[..., : int(_HIGHEST_HZ * width / sample_rate) + 1]
    found = jnp.fft.irfft(power, n=2 * _LAGS_PER_WINDOW)[..., :lags]
    return found / (found[..., :1] + jnp.float32(1e-9))


def _samples(x: Float[Array, "b t"], lengths: Int[Array, " b"], hop: int) -> Float[Array, "b l"]:
    """Frames to samples, linearly between the frames' centres; a row's first and last frame are held."""
    b, t = x.shape
    at = jnp.minimum(jnp.arange(-1, t + 1)[None, :].clip(0), (lengths[:, None] - 1).clip(0))
    x = jnp.take_along_axis(x, at, axis=1)[:, :, None]
    before, here, after = x[:, :-2], x[:, 1:-1], x[:, 2:]
    # From this frame's centre, in frames.
    along = ((np.arange(hop) + 0.5) / hop - 0.5).astype(np.float32)[None, None, :]
    return jnp.where(along < 0, here + along * (here - before), here + along * (after - here)).reshape(b, t * hop)


def pulse_train(
    hertz: Float[Array, "b t"], lengths: Int[Array, " b"], sample_rate: int, hop: int
) -> Float[Array, "b l"]:
    """Cosines at all harmonics below half the rate, in phase, of unit power together; 0 at or beyond `lengths`.

    What a row's pulses are does not depend on its padding.
    """
    frequency = _samples(hertz, lengths, hop)
    steps = (frequency / sample_rate).reshape(*hertz.shape, hop)
    within = jnp.cumsum(steps, axis=-1)
    # Cycles are counted frame by frame, modulo one: float32 would not resolve the phase after minutes.
    turned = jax.lax.associative_scan(lambda a, b: jnp.mod(a + b, 1.0), within[..., -1], axis=1)
    before = jnp.pad(turned[:, :-1], ((0, 0), (1, 0)))
    phase = jnp.mod(before[:, :, None] + within, 1.0).reshape(frequency.shape)

    harmonics = jnp.floor(0.48 * sample_rate / frequency)
    # 1 + 2 cos(x) + 2 cos(2 x) + ... is the Dirichlet kernel.
    sine = jnp.sin(jnp.pi * phase)
    is_peak = jnp.abs(sine) < 1e-4
    count = 2 * harmonics + 1
    kernel = jnp.where(is_peak, count, jnp.sin(count * jnp.pi * phase) / jnp.where(is_peak, 1.0, sine))
    return jnp.where(
        valid_mask(lengths * hop, frequency.shape[1]), (kernel - 1) / jnp.sqrt(2 * harmonics), jnp.float32(0)
    )

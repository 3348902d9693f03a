"""Multi-period and multi-band multi-scale STFT discriminators of waves (DAC section 3.3, arXiv 2306.06546).

Reference: `MPD` and `MRD` in `modules/dac/model/discriminator.py`; the release has no weights of them.  Every network
returns its feature maps, the scores last, each as `(values, lengths)`: the frame axis is axis 1, and frames at or
beyond `lengths` are unspecified.  The reference extends waves by reflection, which would let padding reach valid
frames; here they are extended by zeros.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax.config import DiscriminatorConfig
from metis_jax.layers.conv import Conv1d, normalized_kernel
from metis_jax.layers.dense import fan_in_init, partitioned
from metis_jax.ops.lengths import valid_mask
from metis_jax.ops.stft import hann_window, stft, stft_frames
from metis_jax.types import CHANNELS, Array, DType, Float, Int, Policy

FeatureMap = tuple[Array, Array]

_SLOPE = 0.1
_PERIOD_STRIDE = 3
# (time, frequency) kernels and frequency strides of a band's convolutions.
_BAND_LAYERS = (((3, 9), 1), ((3, 9), 2), ((3, 9), 2), ((3, 9), 2), ((3, 3), 1))


def _zero_padding(x: Array, lengths: Array) -> Array:
    is_valid = valid_mask(lengths, x.shape[1])
    return jnp.where(is_valid.reshape(is_valid.shape + (1,) * (x.ndim - 2)), x, jnp.zeros((), x.dtype))


class Conv2d(nn.Module):
    """A weight-normed convolution over (time, frequency); its stride is over frequency."""

    features: int
    width: tuple[int, int]
    stride: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t f c"]) -> Float[Array, "b t f2 d"]:
        shape = (*self.width, x.shape[-1], self.features)
        direction = self.param("direction", partitioned(fan_in_init, None, None, CHANNELS, CHANNELS), shape)
        gain = self.param(
            "gain",
            partitioned(lambda key, shape: jnp.sqrt(jnp.sum(jnp.square(direction), axis=(0, 1, 2))), CHANNELS),
            (self.features,),
        )
        bias = self.param("bias", partitioned(nn.initializers.zeros, CHANNELS), (self.features,))
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            normalized_kernel(direction, gain).astype(self.dtype),
            window_strides=(1, self.stride),
            padding=[(width // 2, width // 2) for width in self.width],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y + jnp.broadcast_to(bias.astype(self.dtype), y.shape)


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample; the phases are rows of the batch, [b * period, t, c]."""

    period: int
    config: DiscriminatorConfig
    dtype: DType

    @nn.compact
    def __call__(self, wave: Float[Array, "b l"], lengths: Int[Array, " b"]) -> list[FeatureMap]:
        b, period = wave.shape[0], self.period
        x = jnp.pad(wave, ((0, 0), (0, -wave.shape[1] % period)))
        x = x.reshape(b, -1, period).transpose(0, 2, 1).reshape(b * period, -1, 1)
        lengths = jnp.repeat(-(-lengths // period), period)
        maps = []
        last = len(self.config.period_channels) - 1
        for i, channels in enumerate(self.config.period_channels):
            stride = _PERIOD_STRIDE if i < last else 1
            x = nn.leaky_relu(self._conv(channels, 5, f"conv_{i}", stride)(_zero_padding(x, lengths)), _SLOPE)
            lengths = -(-lengths // stride)
            maps.append((x, lengths))
        return [*maps, (self._conv(1, 3, "scores")(_zero_padding(x, lengths)), lengths)]

    def _conv(self, channels: int, width: int, name: str, stride: int = 1) -> Conv1d:
        return Conv1d(
            channels,
            width,
            (width // 2, width // 2),
            stride=stride,
            weight_norm=True,
            axes=(CHANNELS, CHANNELS),
            dtype=self.dtype,
            kernel_init=fan_in_init,
            name=name,
        )


class SpectrumDiscriminator(nn.Module):
    """Looks at complex spectra of one window length, in bands that have their own convolutions, [b, t, f, c]."""

    window_length: int
    config: DiscriminatorConfig
    dtype: DType

    @nn.compact
    def __call__(self, wave: Float[Array, "b l"], lengths: Int[Array, " b"]) -> list[FeatureMap]:
        hop = self.window_length // 4
        spectrum = stft(wave, hann_window(self.window_length), hop)
        x = jnp.stack([spectrum.real, spectrum.imag], axis=-1)
        lengths = stft_frames(lengths, hop)
        maps, bands = [], []
        for i, (low, high) in enumerate(self.config.bands):
            bins = x.shape[2]
            band = x[:, :, int(low * bins) : int(high * bins)]
            for j, (width, stride) in enumerate(_BAND_LAYERS):
                conv = Conv2d(self.config.band_channels, width, stride, self.dtype, name=f"band_{i}_conv_{j}")
                band = nn.leaky_relu(conv(_zero_padding(band, lengths)), _SLOPE)
                maps.append((band, lengths))
            bands.append(band)
        scores = Conv2d(1, (3, 3), 1, self.dtype, name="scores")
        return [*maps, (scores(_zero_padding(jnp.concatenate(bands, axis=2), lengths)), lengths)]


class Discriminators(nn.Module):
    """All discriminators of the acoustic codec, one list of feature maps each."""

    config: DiscriminatorConfig
    policy: Policy = Policy()

    @nn.compact
    def __call__(self, wave: Float[Array, "b l"], lengths: Int[Array, " b"]) -> list[list[FeatureMap]]:
        config, dtype = self.config, self.policy.compute_dtype
        wave = normalized_wave(wave, lengths)
        periods = [PeriodDiscriminator(p, config, dtype, name=f"period_{p}") for p in config.periods]
        spectra = [SpectrumDiscriminator(w, config, dtype, name=f"spectrum_{w}") for w in config.window_lengths]
        return [network(wave, lengths) for network in (*periods, *spectra)]


def normalized_wave(wave: Float[Array, "b l"], lengths: Int[Array, " b"]) -> Float[Array, "b l"]:
    """Each row's valid samples without their mean, at a peak of 0.8; zero beyond."""
    wave = _zero_padding(wave.astype(jnp.float32), lengths)
    count = jnp.maximum(lengths, 1).astype(jnp.float32)[:, None]
    wave = _zero_padding(wave - jnp.sum(wave, axis=1, keepdims=True) / count, lengths)
    peak = jnp.max(jnp.abs(wave), axis=1, keepdims=True)
    return jnp.float32(0.8) * wave / (peak + jnp.float32(1e-9))

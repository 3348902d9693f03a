"""A decoder that speaks as a voice does: pulses at the pitch and noise, each through a filter that changes with time.

Not the paper's.  Frames of free magnitudes and phases (Vocos) sound like a voice once discriminators insist on it;
trained by spectra alone they blur the harmonics of a voice whose pitch they are not sure of.  Here the harmonics are
there by construction, as in DDSP (arXiv 2001.04643) and neural source-filter models (arXiv 1904.12088), and the network
learns the pitch and how loud harmonics and noise are.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex

from metis_jax.config import AcousticCodecConfig
from metis_jax.layers.convnext import VocosBackbone
from metis_jax.layers.dense import Dense
from metis_jax.ops.lengths import valid_mask
from metis_jax.ops.pitch import RANGE_HZ, pulse_train
from metis_jax.ops.slaney import hertz_to_mel
from metis_jax.ops.stft import frame, hann_window, istft, stft
from metis_jax.types import EMBED, Array, Float, Int, Policy

FILTERS_PER_FRAME = 4
_BANDS = 80
_TYPICAL_HERTZ = 140.0
_GLIDE = 17  # filters, 85 ms
# Natural logarithms of the gains that an untrained decoder has, and what gains are limited to.
_TYPICAL_HARMONICS, _TYPICAL_NOISE = -4.0, -5.0
_LARGEST_LOG_GAIN, _SMALLEST_LOG_GAIN = 6.0, -14.0


class Controls(NamedTuple):
    """What the decoder says, `FILTERS_PER_FRAME` times per frame of codes.

    Attributes:
      log_pitch: natural logarithm of hertz, within `RANGE_HZ`.
      harmonics, noise: natural logarithms of gains, at bands evenly spaced on the mel scale.
    """

    log_pitch: Float[Array, "b s"]
    harmonics: Float[Array, "b s m"]
    noise: Float[Array, "b s m"]


def _bands_to_bins(sample_rate: int, n_fft: int) -> Float[np.ndarray, "m f"]:
    """Linear interpolation between bands on the mel scale."""
    bins = hertz_to_mel(np.linspace(0, sample_rate / 2, n_fft // 2 + 1))
    centres = np.linspace(bins[0], bins[-1], _BANDS)
    distance = np.abs(bins[None] - centres[:, None]) / (centres[1] - centres[0])
    return np.maximum(0, 1 - distance).astype(np.float32)


def _smoothed(log_pitch: Float[Array, "b s"], counts: Int[Array, " b"]) -> Float[Array, "b s"]:
    """The mean over `_GLIDE` neighbours, of those that are valid: a voice glides where codes that err would jump."""
    is_valid = valid_mask(counts, log_pitch.shape[1]).astype(jnp.float32)
    sides = ((0, 0), (_GLIDE // 2, _GLIDE // 2))
    total, weight = (jnp.sum(frame(jnp.pad(x, sides), _GLIDE, 1), axis=-1) for x in (log_pitch * is_valid, is_valid))
    return jnp.where(weight > 0, total / jnp.maximum(weight, jnp.float32(1)), log_pitch)


def _minimum_phase(log_gain: Float[Array, "b s f"]) -> Complex[Array, "b s f"]:
    """The filter of these gains that rings as little as it can, as a throat does: its cepstrum is causal."""
    width = 2 * (log_gain.shape[-1] - 1)
    fold = np.zeros(width, np.float32)
    fold[0] = fold[width // 2] = 1
    fold[1 : width // 2] = 2
    return jnp.exp(jnp.fft.rfft(jnp.fft.irfft(log_gain, n=width) * fold[None, None, :]))


class SourceFilterDecoder(nn.Module):
    """Summed code vectors to waves.  Its noise is the same in every call and for every row."""

    config: AcousticCodecConfig
    policy: Policy

    def setup(self):
        config = self.config
        self.backbone = VocosBackbone(
            config.decoder_width, config.decoder_mlp_width, config.decoder_layers, self.policy
        )
        self.out = Dense(
            FILTERS_PER_FRAME * (1 + 2 * _BANDS),
            (EMBED, None),
            dtype=self.policy.compute_dtype,
            kernel_init=nn.initializers.normal(0.01),
        )

    @property
    def hop(self) -> int:
        """Samples per filter."""
        return self.config.hop // FILTERS_PER_FRAME

    def __call__(self, x: Float[Array, "b t c"], lengths: Int[Array, " b"]) -> Float[Array, "b l"]:
        controls = self.controls(x, lengths)
        return self.render(controls, jnp.exp(controls.log_pitch), lengths)

    def controls(self, x: Float[Array, "b t c"], lengths: Int[Array, " b"]) -> Controls:
        b, t, _ = x.shape
        found = self.out(self.backbone(x, lengths)).astype(jnp.float32).reshape(b, FILTERS_PER_FRAME * t, -1)
        pitch, harmonics, noise = jnp.split(found, (1, 1 + _BANDS), axis=-1)
        limits = np.log(RANGE_HZ).astype(np.float32)
        pitch = jnp.clip(pitch[..., 0] + jnp.float32(np.log(_TYPICAL_HERTZ)), *limits)
        return Controls(
            _smoothed(pitch, FILTERS_PER_FRAME * lengths),
            jnp.clip(harmonics + jnp.float32(_TYPICAL_HARMONICS), _SMALLEST_LOG_GAIN, _LARGEST_LOG_GAIN),
            jnp.clip(noise + jnp.float32(_TYPICAL_NOISE), _SMALLEST_LOG_GAIN, _LARGEST_LOG_GAIN),
        )

    def render(self, controls: Controls, hertz: Float[Array, "b s"], lengths: Int[Array, " b"]) -> Float[Array, "b l"]:
        """The wave of controls at a pitch of `hertz`, which gets no gradient from it."""
        config, counts = self.config, FILTERS_PER_FRAME * lengths
        window, bins = hann_window(config.n_fft), _bands_to_bins(config.sample_rate, config.n_fft)
        samples = hertz.shape[1] * self.hop
        pulses = pulse_train(jax.lax.stop_gradient(hertz), counts, config.sample_rate, self.hop)
        noise = jax.random.normal(jax.random.key(0), (samples,))[None, :]
        noise = jnp.where(valid_mask(counts * self.hop, samples), noise, jnp.float32(0))
        voiced = stft(pulses, window, self.hop) * _minimum_phase(controls.harmonics @ bins)
        unvoiced = stft(noise, window, self.hop) * jnp.exp(controls.noise @ bins).astype(jnp.complex64)
        return istft(voiced + unvoiced, window, self.hop, counts)

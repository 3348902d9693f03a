"""Another encoder of the acoustic codec, over spectra instead of samples.  Not the paper's."""

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.config import AcousticCodecConfig
from metis_jax.layers.convnext import VocosBackbone
from metis_jax.layers.dense import Dense, fan_in_init
from metis_jax.models.wave_encoder import code_frames
from metis_jax.ops.lengths import valid_mask
from metis_jax.ops.stft import log_mel_magnitude
from metis_jax.types import CHANNELS, EMBED, Array, Float, Int, Policy

# Windows of the spectrum encoder in hops (a quarter of a window apart), and their mel bins: the short ones follow the
# envelope in time, the long one resolves the harmonics.
_SPECTRA = ((1, 40), (4, 80))
_TYPICAL_LOG_MEL = -2.0


class SpectrumEncoder(nn.Module):
    """Log-mel spectra of two resolutions to latents, through a Vocos backbone.

    Not the paper's: convolutions over 24,000 samples a second need more channels than a small model can afford before
    they resolve what a spectrogram gives them at once.
    """

    config: AcousticCodecConfig
    policy: Policy

    @nn.compact
    def __call__(
        self, wave: Float[Array, "b l"], lengths: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t c"], Int[Array, " b"]]:
        config = self.config
        t, frames = code_frames(wave.shape[1], config.strides), code_frames(lengths, config.strides)
        # Samples behind the last whole frame are cut off, whatever padding the batch has.
        is_valid = valid_mask(jnp.minimum(lengths, frames * config.hop), wave.shape[1])
        wave = jnp.where(is_valid, wave.astype(jnp.float32), jnp.float32(0))
        wave = jnp.pad(wave, ((0, 0), (0, max(0, t * config.hop - wave.shape[1]))))[:, : t * config.hop]
        columns = []
        for hops, mel_bins in _SPECTRA:
            width = hops * config.hop
            mel = log_mel_magnitude(wave, sample_rate=config.sample_rate, width=width, mel_bins=mel_bins)
            columns.append(mel.reshape(mel.shape[0], t, 4 // hops * mel_bins))
        x = jnp.concatenate(columns, axis=-1) - jnp.float32(_TYPICAL_LOG_MEL)
        width = config.encoder_width
        x = VocosBackbone(width, 3 * width, config.encoder_layers, self.policy, name="backbone")(x, frames)
        dtype = self.policy.compute_dtype
        out = Dense(config.latent_width, (EMBED, CHANNELS), dtype=dtype, kernel_init=fan_in_init, name="out")
        return out(x).astype(jnp.float32), frames

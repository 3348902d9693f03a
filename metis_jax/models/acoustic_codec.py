"""The acoustic codec: 24 kHz waves to residual codes at 50 Hz and back (MaskGCT section 3.2.3).

A convolutional encoder and residual factorized quantizers as in DAC (arXiv 2306.06546), a Vocos decoder (arXiv
2306.00814).  Reference: `CodecEncoder` and `CodecDecoder` in `models/codec/amphion_codec/codec.py`.  Codes equal it
exactly, floats to 1e-4 relative.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax.config import AcousticCodecConfig
from metis_jax.layers.conv import Conv1d, Snake
from metis_jax.layers.convnext import VocosBackbone
from metis_jax.layers.dense import Dense, fan_in_init, truncated_init
from metis_jax.layers.quantizer import QuantizerOutput, ResidualQuantizer
from metis_jax.layers.stack import rematerialized
from metis_jax.models.source_filter import SourceFilterDecoder
from metis_jax.ops.lengths import valid_mask, zero_padding
from metis_jax.ops.pitch import VOICED, Pitch
from metis_jax.ops.stft import hann_window, istft, log_mel_magnitude
from metis_jax.types import CHANNELS, EMBED, Array, DType, Float, Int, Policy

# The collection of what a checkpoint holds beside the trained parameters: the window of the inverse transform.
BUFFERS = "buffers"

_DILATIONS = (1, 3, 9)
_LARGEST_MAGNITUDE = 100.0
# Every convolution of the encoder makes its input smaller, and latents would start around 0.01: less than a few steps
# of an optimizer move the biases.  All frames then get one code, at every level, and stay there.
_LATENT_GAIN = 100.0
# Windows of the spectrum encoder in hops (a quarter of a window apart), and their mel bins: the short ones follow the
# envelope in time, the long one resolves the harmonics.
_SPECTRA = ((1, 40), (4, 80))
_TYPICAL_LOG_MEL = -2.0
_LARGEST_MISTAKE = 0.4  # of log pitch; an octave is 0.7


def code_frames(samples: Int[Array, " b"] | int, strides: tuple[int, ...]) -> Int[Array, " b"] | int:
    """Frames that the encoder makes of `samples`: odd strides round up half a stride early, even ones round down."""
    for stride in strides:
        samples = (samples + stride % 2) // stride
    return samples


def _conv(
    features: int, width: int, dtype: DType, name: str, *, dilation: int = 1, initial_gain: float = 1.0
) -> Conv1d:
    """A weight-normed convolution that keeps the number of frames."""
    side = (width - 1) * dilation // 2
    return Conv1d(
        features,
        width,
        (side, side),
        dilation=dilation,
        weight_norm=True,
        initial_gain=initial_gain,
        axes=(CHANNELS, CHANNELS),
        dtype=dtype,
        kernel_init=fan_in_init,
        name=name,
    )


class ResidualUnit(nn.Module):
    """Snake, dilated convolution, Snake, pointwise convolution, added to the input."""

    dilation: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"], lengths: Int[Array, " b"]) -> Float[Array, "b t c"]:
        width, dtype = x.shape[-1], self.dtype
        y = zero_padding(Snake(name="snake_in")(x), lengths)
        y = _conv(width, 7, dtype, "conv", dilation=self.dilation)(y)
        return x + _conv(width, 1, dtype, "out")(Snake(name="snake_out")(y))


class EncoderBlock(nn.Module):
    """Three residual units of growing dilation, then a strided convolution to twice the channels."""

    stride: int
    policy: Policy

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t c"], lengths: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t2 d"], Int[Array, " b"]]:
        dtype, stride = self.policy.compute_dtype, self.stride
        unit = rematerialized(ResidualUnit, self.policy)
        for i, dilation in enumerate(_DILATIONS):
            x = unit(dilation, dtype, name=f"unit_{i}")(x, lengths)
        side = math.ceil(stride / 2)
        down = Conv1d(
            2 * x.shape[-1],
            2 * stride,
            (side, side),
            stride=stride,
            weight_norm=True,
            axes=(CHANNELS, CHANNELS),
            dtype=dtype,
            kernel_init=fan_in_init,
            name="down",
        )
        return down(zero_padding(Snake(name="snake")(x), lengths)), code_frames(lengths, (stride,))


class WaveEncoder(nn.Module):
    """Waves to latents, one block per stride."""

    config: AcousticCodecConfig
    policy: Policy

    @nn.compact
    def __call__(
        self, wave: Float[Array, "b l"], lengths: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t c"], Int[Array, " b"]]:
        config, dtype = self.config, self.policy.compute_dtype
        x = zero_padding(wave[:, :, None], lengths)
        x = _conv(config.encoder_width, 7, dtype, "in")(x)
        for i, stride in enumerate(config.strides):
            x, lengths = EncoderBlock(stride, self.policy, name=f"block_{i}")(x, lengths)
        x = zero_padding(Snake(name="snake")(x), lengths)
        out = _conv(config.latent_width, 3, dtype, "out", initial_gain=_LATENT_GAIN)
        return out(x).astype(jnp.float32), lengths


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


_ENCODERS = {"wave": WaveEncoder, "spectrum": SpectrumEncoder}


class VocosDecoder(nn.Module):
    """Summed code vectors to waves: a Vocos backbone that predicts magnitude and phase of every frame."""

    config: AcousticCodecConfig
    policy: Policy

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"], lengths: Int[Array, " b"]) -> Float[Array, "b l"]:
        config = self.config
        x = VocosBackbone(
            config.decoder_width, config.decoder_mlp_width, config.decoder_layers, self.policy, name="backbone"
        )(x, lengths)
        out = Dense(
            config.n_fft + 2, (EMBED, None), dtype=self.policy.compute_dtype, kernel_init=truncated_init, name="out"
        )
        log_magnitude, phase = jnp.split(out(x).astype(jnp.float32), 2, axis=-1)
        # The reference clips after the exponential, whose gradient would not be finite where it overflows.
        magnitude = jnp.exp(jnp.minimum(log_magnitude, jnp.float32(math.log(_LARGEST_MAGNITUDE))))
        spectrum = jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase))
        window = self.variable(BUFFERS, "window", lambda: jnp.asarray(hann_window(config.n_fft)))
        return istft(spectrum, window.value, config.hop, lengths)


_DECODERS = {"vocos": VocosDecoder, "source_filter": SourceFilterDecoder}


class AcousticCodec(nn.Module):
    """Residual vector-quantized autoencoder of speech waves; `__call__` is its training pass."""

    config: AcousticCodecConfig
    policy: Policy = Policy()

    def setup(self):
        config = self.config
        self.encoder = _ENCODERS[config.encoder](config, self.policy)
        self.quantizer = ResidualQuantizer(
            config.latent_width, config.num_levels, config.codebook_size, config.code_width, config.quantizer_dropout
        )
        self.decoder = _DECODERS[config.decoder](config, self.policy)

    def __call__(
        self, wave: Float[Array, "b l"], lengths: Int[Array, " b"], *, deterministic: bool = True
    ) -> tuple[Float[Array, "b l2"], QuantizerOutput]:
        """The wave coded and decoded, of `code_frames(l) * hop` samples, and what the quantizer found.

        Args:
          wave: at `config.sample_rate`.
          lengths: valid samples.
          deterministic: False drops quantizer levels, drawn from the "codebook_dropout" stream.
        """
        latents, frame_lengths = self.latents(wave, lengths)
        output = self.quantizer(latents, frame_lengths, deterministic=deterministic)
        return self.decoder(output.quantized, frame_lengths), output

    def decode_at_pitch(
        self, quantized: Float[Array, "b t c"], frame_lengths: Int[Array, " b"], heard: Pitch
    ) -> tuple[Float[Array, "b l"], Float[Array, "b s"]]:
        """What a source-filter decoder learns from: its wave at the pitch of the original, and its own log pitch.

        Its own is used where no pitch is heard, or one so far from it that the tracker may have taken an octave.
        """
        controls = self.decoder.controls(quantized, frame_lengths)
        is_sure = (heard.strength > VOICED) & (jnp.abs(jnp.log(heard.hertz) - controls.log_pitch) < _LARGEST_MISTAKE)
        hertz = jnp.where(is_sure, heard.hertz, jnp.exp(controls.log_pitch))
        return self.decoder.render(controls, hertz, frame_lengths), controls.log_pitch

    def latents(
        self, wave: Float[Array, "b l"], lengths: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t c"], Int[Array, " b"]]:
        """The encoder's output, before quantization, and its valid frames."""
        return self.encoder(wave, lengths)

    def quantize(self, latents: Float[Array, "b t c"], frame_lengths: Int[Array, " b"]) -> QuantizerOutput:
        """Codes of latents at every level."""
        return self.quantizer(latents, frame_lengths, deterministic=True)

    def encode(
        self, wave: Float[Array, "b l"], lengths: Int[Array, " b"]
    ) -> tuple[Int[Array, "b t q"], Int[Array, " b"]]:
        """Codes of waves, and how many frames of them are valid."""
        latents, frame_lengths = self.latents(wave, lengths)
        return self.quantize(latents, frame_lengths).codes, frame_lengths

    def embed(self, codes: Int[Array, "b t q"], num_levels: int | None = None) -> Float[Array, "b t c"]:
        """Sum of the vectors of the first `num_levels` levels; by default of all that `codes` has."""
        return self.quantizer.embed(codes, num_levels)

    def decode(
        self, codes: Int[Array, "b t q"] | Float[Array, "b t c"], frame_lengths: Int[Array, " b"]
    ) -> Float[Array, "b l"]:
        """Waves of `t * hop` samples from codes, or from their summed vectors."""
        is_codes = jnp.issubdtype(codes.dtype, jnp.integer)
        return self.decoder(self.embed(codes) if is_codes else codes, frame_lengths)

"""The acoustic codec: 24 kHz waves to residual codes at 50 Hz and back (MaskGCT section 3.2.3).

A convolutional encoder and residual factorized quantizers as in DAC (arXiv 2306.06546), a Vocos decoder (arXiv
2306.00814).  Reference: `CodecEncoder` and `CodecDecoder` in `models/codec/amphion_codec/codec.py`.  Codes equal it
exactly, floats to 1e-4 relative.
"""

import flax.linen as nn
import jax.numpy as jnp

from metis_jax.config import AcousticCodecConfig
from metis_jax.layers.quantizer import QuantizerOutput, ResidualQuantizer
from metis_jax.models.source_filter import SourceFilterDecoder
from metis_jax.models.spectrum_encoder import SpectrumEncoder
from metis_jax.models.vocos_decoder import VocosDecoder
from metis_jax.models.wave_encoder import WaveEncoder
from metis_jax.ops.pitch import VOICED, Pitch
from metis_jax.types import Array, Float, Int, Policy

_LARGEST_MISTAKE = 0.4  # of log pitch; an octave is 0.7
_ENCODERS = {"wave": WaveEncoder, "spectrum": SpectrumEncoder}
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

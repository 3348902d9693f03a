"""SSL features of waves, whichever encoder makes them: the one place that knows what each of them hears."""

from metis_jax.config import AnySslEncoderConfig, SslEncoderConfig
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.models.whisper_encoder import WhisperEncoder
from metis_jax.ops import mel, whisper_mel
from metis_jax.types import Array, Float, Int, Policy, Variables

AnySslEncoder = SslEncoder | WhisperEncoder
EXACT = Policy()


def make_ssl_encoder(config: AnySslEncoderConfig, policy: Policy = EXACT) -> AnySslEncoder:
    """The model that `config` describes."""
    return SslEncoder(config, policy) if isinstance(config, SslEncoderConfig) else WhisperEncoder(config, policy)


def wave_features(
    encoder: AnySslEncoder, variables: Variables, wave: Float[Array, "b l"], samples: Int[Array, " b"]
) -> Float[Array, "b t d"]:
    """Normalised SSL features, float32, of right-padded 16 kHz waves: a frame for every 320 samples, or one more.

    Of a row `clock.ssl_frames(samples)` frames are valid.
    """
    log_mel = mel.log_mel if isinstance(encoder, SslEncoder) else whisper_mel.log_mel
    return encoder.apply(variables, *log_mel(wave, samples, mel_bins=encoder.config.mel_bins), method="features")

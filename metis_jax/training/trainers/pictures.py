"""What TensorBoard shows of waves and features."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from metis_jax.ops.stft import log_mel_magnitude


def spectrogram(wave: Float[np.ndarray, " l"], rate: int) -> Float[np.ndarray, "m t"]:
    """Log-mel magnitudes, low frequencies in the first row."""
    mel = log_mel_magnitude(jnp.asarray(wave)[None], sample_rate=rate, width=1024, mel_bins=80)
    return np.asarray(mel[0]).T


def feature_picture(features: Float[np.ndarray, "t d"]) -> Float[np.ndarray, "d t"]:
    """Features over time."""
    return np.asarray(features, np.float32).T

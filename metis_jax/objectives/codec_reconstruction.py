"""Reconstruction losses of the two codecs, over valid frames.

Those of features are means over all frames of a batch.  Those of waves are means over its rows of a mean over each:
crops are equally long, but for the few recordings that are shorter, and the losses of all resolutions then weigh the
rows alike.

Semantic codec: L1 between SSL features (MaskGCT section 3.2.1).  Acoustic codec: L1 between log-mel spectrograms at
seven resolutions (DAC section 3.4; reference `MelSpectrogramLoss` in `modules/dac/nn/loss.py` with DAC's settings); of
a decoder that has a pitch, its distance from the one that is heard.
"""

import jax.numpy as jnp

from metis_jax.ops.lengths import row_means, valid_mask
from metis_jax.ops.pitch import VOICED, Pitch
from metis_jax.ops.stft import log_mel_magnitude, stft_frames
from metis_jax.types import Array, Float, Int

# (window length, mel bins) of every resolution.
MEL_SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))


def _frame_errors(x: Float[Array, "b t d"], target: Float[Array, "b t d"]) -> Float[Array, "b t"]:
    return jnp.mean(jnp.abs(x.astype(jnp.float32) - target.astype(jnp.float32)), axis=-1)


def feature_loss(
    features: Float[Array, "b t d"], target: Float[Array, "b t d"], lengths: Int[Array, " b"]
) -> Float[Array, ""]:
    """Mean absolute error of features."""
    is_valid = valid_mask(lengths, target.shape[1])
    total = jnp.sum(jnp.where(is_valid, _frame_errors(features, target), jnp.float32(0)))
    return total / jnp.maximum(jnp.sum(is_valid), 1).astype(jnp.float32)


def mel_loss(
    wave: Float[Array, "b l"],
    target: Float[Array, "b l"],
    lengths: Int[Array, " b"],
    *,
    sample_rate: int,
    scales: tuple[tuple[int, int], ...] = MEL_SCALES,
) -> Float[Array, ""]:
    """Mean absolute error of log10 mel magnitudes, summed over resolutions."""
    is_valid = valid_mask(lengths, wave.shape[1])
    wave, target = (jnp.where(is_valid, x.astype(jnp.float32), jnp.float32(0)) for x in (wave, target))
    total = jnp.float32(0)
    for width, mel_bins in scales:
        x, y = (log_mel_magnitude(x, sample_rate=sample_rate, width=width, mel_bins=mel_bins) for x in (wave, target))
        is_frame = valid_mask(stft_frames(lengths, width // 4), x.shape[1])
        total = total + jnp.mean(row_means(_frame_errors(x, y), is_frame))
    return total


def pitch_loss(log_pitch: Float[Array, "b t"], heard: Pitch, lengths: Int[Array, " b"]) -> Float[Array, ""]:
    """Mean absolute error of log pitch over a row's voiced frames, surer ones counting more; 0 in a row without any."""
    is_voiced = valid_mask(lengths, log_pitch.shape[1]) & (heard.strength > VOICED)
    weight = jnp.where(is_voiced, heard.strength, jnp.float32(0))
    error = jnp.abs(log_pitch - jnp.log(heard.hertz))
    return jnp.mean(jnp.sum(weight * error, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), jnp.float32(1e-3)))

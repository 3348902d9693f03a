"""From waves to what generators and codecs are trained on, inside the step, by frozen encoders."""

import jax
import jax.numpy as jnp

from metis_jax.config import AnySslEncoderConfig
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.ssl_features import AnySslEncoder, wave_features
from metis_jax.models.visual_encoder import VisualEncoder, standardized
from metis_jax.types import Array, Float, Int, UInt8, Variables


def learning_features(
    encoder: AnySslEncoder, variables: Variables, wave: Float[Array, "b l"], wave_lengths: Int[Array, " b"], t: int
) -> Float[Array, "b t d"]:
    """`t` frames of normalised SSL features, float32, with their gradient."""
    return wave_features(encoder, variables, wave, wave_lengths)[:, :t]


def ssl_features(
    encoder: AnySslEncoder, variables: Variables, wave: Float[Array, "b l"], wave_lengths: Int[Array, " b"], t: int
) -> Float[Array, "b t d"]:
    """`learning_features` of a frozen encoder: no gradient to anything."""
    return jax.lax.stop_gradient(learning_features(encoder, variables, wave, wave_lengths, t))


def encoder_frames(samples: int, config: AnySslEncoderConfig) -> int:
    """Frames of a padded 16 kHz wave; the data pads waves to a whole number of frames and 15 ms for the last window."""
    return (samples - config.sample_rate * 15 // 1000) // config.hop


def ssl_tokens(
    codec: SemanticCodec, variables: Variables, features: Float[Array, "b t d"], lengths: Int[Array, " b"]
) -> Int[Array, "b t"]:
    """SSL tokens of SSL features."""
    return codec.apply(variables, features, lengths, method="encode")


def lip_features(
    encoder: VisualEncoder,
    variables: Variables,
    crops: UInt8[Array, "b u h w"],
    lengths: Int[Array, " b"],
    *,
    train: bool = False,
) -> Float[Array, "b u d"]:
    """Lip features of mouth crops; with `train` they are normalised by this batch and not by the running statistics."""
    if not train:
        return encoder.apply(variables, standardized(crops), lengths, train=False)
    found, _ = encoder.apply(variables, standardized(crops), lengths, train=True, mutable=["batch_stats"])
    return found


def upsample_twice(x: Float[Array, "b t c"], lengths: Int[Array, " b"]) -> Float[Array, "b t2 c"]:
    """Linear interpolation to twice the rate, edges held: torch's `interpolate`, half-pixel centres, row by row.

    25 fps lip features become 50 Hz condition features; padding never blends into the last valid frame.
    """
    b, t, c = x.shape
    at = jnp.minimum(jnp.arange(-1, t + 1)[None, :].clip(0), (lengths[:, None] - 1).clip(0))
    x = jnp.take_along_axis(x, at[:, :, None], axis=1)
    before, here, after = x[:, :-2], x[:, 1:-1], x[:, 2:]
    near, far = jnp.asarray(0.75, x.dtype), jnp.asarray(0.25, x.dtype)
    pair = jnp.stack([near * here + far * before, near * here + far * after], axis=2)
    return pair.reshape(b, 2 * t, c)

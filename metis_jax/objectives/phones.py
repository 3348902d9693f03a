"""Which phones were said: cross-entropy where their bounds are known, CTC (Graves et al., 2006) where their order is.

Marks and word boundaries are no sounds.  A frame in a pause belongs to `SILENCE`, which is CTC's blank as well.
"""

import flax.struct
import jax
import jax.numpy as jnp
import optax

from metis_jax.ops.lengths import valid_mask
from metis_jax.types import Array, Bool, Float, Int

SILENCE = 0
_BOUNDARY = 4  # between two words, in the phoneme table (`text/vocabulary.py`)
SOUNDS = 5  # the first id of the table that is one


@flax.struct.dataclass
class PhoneLoss:
    """Means over frames or phones, and of how many."""

    mean: Float[Array, ""]
    count: Float[Array, ""]


def frame_phones(
    phones: Int[Array, "b p"], bounds: Float[Array, "b p1"], lengths: Int[Array, " b"], t: int
) -> tuple[Int[Array, "b t"], Bool[Array, "b t"]]:
    """The phone at the middle of each frame, and where it is known.

    `bounds` are frames, as in a batch (`data/pipeline.py`); a boundary between words sounds like its neighbours.
    """
    middles = jnp.arange(t, dtype=jnp.float32) + jnp.float32(0.5)
    ends = jnp.where(valid_mask(lengths + 1, bounds.shape[1]), bounds, jnp.float32(jnp.inf))
    index = jax.vmap(lambda row: jnp.searchsorted(row, middles, side="right"))(ends) - 1
    is_within = (index >= 0) & (index < lengths[:, None])
    found = jnp.take_along_axis(phones, jnp.clip(index, 0, phones.shape[1] - 1), axis=1)
    found = jnp.where(is_within, found, SILENCE)
    is_known = jnp.any(bounds > 0, axis=1)[:, None] & (found != _BOUNDARY)
    return jnp.where(found < SOUNDS, SILENCE, found), is_known


def sounds(phones: Int[Array, "b p"], lengths: Int[Array, " b"]) -> tuple[Int[Array, "b p"], Int[Array, " b"]]:
    """The phones that are sounds, in their order, and how many they are."""
    is_sound = (phones >= SOUNDS) & valid_mask(lengths, phones.shape[1])
    order = jnp.argsort(~is_sound, axis=1, stable=True)
    return jnp.take_along_axis(phones, order, axis=1), jnp.sum(is_sound, axis=1, dtype=jnp.int32)


def frame_loss(
    logits: Float[Array, "b t v"], phones: Int[Array, "b t"], is_known: Bool[Array, "b t"]
) -> tuple[PhoneLoss, Float[Array, ""]]:
    """Cross-entropy of the frames that are known, and the share of them that is right."""
    count = jnp.sum(is_known, dtype=jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, phones)
    is_right = (jnp.argmax(logits, axis=-1) == phones) & is_known
    mean = jnp.sum(jnp.where(is_known, losses, jnp.float32(0))) / jnp.maximum(count, 1)
    return PhoneLoss(mean, count), jnp.sum(is_right, dtype=jnp.float32) / jnp.maximum(count, 1)


def ctc_loss(
    logits: Float[Array, "b t v"], frames: Int[Array, " b"], phones: Int[Array, "b p"], lengths: Int[Array, " b"]
) -> PhoneLoss:
    """CTC's loss per phone, of the rows that have any; `phones` are sounds alone."""
    frame_paddings, label_paddings = (
        1 - valid_mask(own, size).astype(jnp.float32)
        for own, size in ((frames, logits.shape[1]), (lengths, phones.shape[1]))
    )
    # Optax promotes booleans and ranks; our own code stays strict around it.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        losses = optax.ctc_loss(logits, frame_paddings, phones, label_paddings, blank_id=SILENCE)
    count = jnp.sum(lengths, dtype=jnp.float32)
    return PhoneLoss(jnp.sum(jnp.where(lengths > 0, losses, jnp.float32(0))) / jnp.maximum(count, 1), count)

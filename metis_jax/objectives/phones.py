"""Which phones were said: cross-entropy where their bounds are known, CTC (Graves et al., 2006) where their order is.

A table of labels says what each phone is to these losses: a sound is its own label, a mark is `SILENCE`, which is CTC's
blank as well, and a boundary between two words, which nobody hears, is `UNHEARD`.  Losses are sums over the batch, for
their user to divide by its frames: so a batch that passes in parts gives what it gives at once.
"""

import jax
import jax.numpy as jnp
import optax

from metis_jax.ops.lengths import valid_mask
from metis_jax.types import Array, Bool, Float, Int

SILENCE, UNHEARD = 0, -1


def frame_labels(
    phones: Int[Array, "b p"],
    bounds: Float[Array, "b p1"],
    lengths: Int[Array, " b"],
    labels: Int[Array, " v"],
    t: int,
) -> tuple[Int[Array, "b t"], Bool[Array, "b t"]]:
    """The label at the middle of each frame, and where it is known.

    `bounds` are frames, as in a batch of `data/batches/tasks.py`.  Before the first phone and after the last one is
    silence.
    """
    middles = jnp.arange(t, dtype=jnp.float32) + jnp.float32(0.5)
    ends = jnp.where(valid_mask(lengths + 1, bounds.shape[1]), bounds, jnp.float32(jnp.inf))
    index = jax.vmap(lambda row: jnp.searchsorted(row, middles, side="right"))(ends) - 1
    is_within = (index >= 0) & (index < lengths[:, None])
    found = jnp.take(labels, jnp.take_along_axis(phones, jnp.clip(index, 0, phones.shape[1] - 1), axis=1))
    found = jnp.where(is_within, found, SILENCE)
    is_known = jnp.any(bounds > 0, axis=1)[:, None] & (found != UNHEARD)
    return jnp.maximum(found, SILENCE), is_known


def sounds(
    phones: Int[Array, "b p"], lengths: Int[Array, " b"], labels: Int[Array, " v"]
) -> tuple[Int[Array, "b p"], Int[Array, " b"]]:
    """The phones that are sounds, in their order, and how many they are."""
    is_sound = (jnp.take(labels, phones) > SILENCE) & valid_mask(lengths, phones.shape[1])
    order = jnp.argsort(~is_sound, axis=1, stable=True)
    return jnp.take_along_axis(phones, order, axis=1), jnp.sum(is_sound, axis=1, dtype=jnp.int32)


def frame_loss(
    logits: Float[Array, "b t v"], labels: Int[Array, "b t"], is_known: Bool[Array, "b t"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The sum of the cross-entropy of the frames that are known, and the share of them that is right."""
    count = jnp.sum(is_known, dtype=jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    is_right = (jnp.argmax(logits, axis=-1) == labels) & is_known
    total = jnp.sum(jnp.where(is_known, losses, jnp.float32(0)))
    return total, jnp.sum(is_right, dtype=jnp.float32) / jnp.maximum(count, 1)


def ctc_loss(
    logits: Float[Array, "b t v"], frames: Int[Array, " b"], phones: Int[Array, "b p"], lengths: Int[Array, " b"]
) -> Float[Array, ""]:
    """The sum of CTC's losses of the rows; `phones` are sounds alone.

    A row with more sounds than its frames can spell has no loss: two equal ones need a frame between them.
    """
    frame_paddings, label_paddings = (
        1 - valid_mask(own, size).astype(jnp.float32)
        for own, size in ((frames, logits.shape[1]), (lengths, phones.shape[1]))
    )
    is_repeated = (phones[:, 1:] == phones[:, :-1]) & valid_mask(lengths - 1, phones.shape[1] - 1)
    is_spelt = (lengths > 0) & (lengths + jnp.sum(is_repeated, axis=1, dtype=jnp.int32) <= frames)
    # Optax promotes booleans and ranks; our own code stays strict around it.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        losses = optax.ctc_loss(logits, frame_paddings, phones, label_paddings, blank_id=SILENCE)
    return jnp.sum(jnp.where(is_spelt, losses, jnp.float32(0)))

"""Right-padded batches described by lengths: masks, counts and ragged joins.

Everything in the package describes padding by `lengths`, one per row, with padding at the right.  That is what fused
attention kernels take, and it keeps one rule for "does not change with padding".
"""

import jax.numpy as jnp

from metis_jax.types import Array, Bool, Float, Int


def valid_mask(lengths: Int[Array, " b"], t: int) -> Bool[Array, "b t"]:
    """True where a frame index is below its row's length."""
    return jnp.arange(t, dtype=lengths.dtype)[None, :] < lengths[:, None]


def row_means(x: Float[Array, "b t"], is_valid: Bool[Array, "b t"]) -> Float[Array, " b"]:
    """The mean of each row over its valid frames; 0 where a row has none.  What is not valid may be non-finite."""
    count = jnp.maximum(jnp.sum(is_valid, axis=1), 1).astype(x.dtype)
    return jnp.sum(jnp.where(is_valid, x, jnp.zeros((), x.dtype)), axis=1) / count


def full_lengths(b: int, t: int) -> Int[Array, " b"]:
    """Lengths of a batch without padding."""
    return jnp.full((b,), t, jnp.int32)


def zero_padding(x: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> Float[Array, "b t d"]:
    """Sets padded frames to zero, as convolutions that reach across the edge need."""
    return jnp.where(valid_mask(lengths, x.shape[1])[:, :, None], x, jnp.zeros((), x.dtype))


def _gather_rows(x: Array, index: Int[Array, "b t"]) -> Array:
    index = index.reshape(index.shape + (1,) * (x.ndim - 2))
    return jnp.take_along_axis(x, index, axis=1)


def join(
    first: Array, first_lengths: Int[Array, " b"], second: Array, second_lengths: Int[Array, " b"]
) -> tuple[Array, Int[Array, " b"]]:
    """Joins two right-padded batches row by row without a gap: [b, t1, …] and [b, t2, …] to [b, t1 + t2, …].

    Frames of `second` keep their order behind the last valid frame of `first`, its padding included, so that
    `take(joined, first_lengths, t2)` gives `second` back.
    """
    t1, t2 = first.shape[1], second.shape[1]
    both = jnp.concatenate([first, second], axis=1)
    at = jnp.arange(t1 + t2, dtype=jnp.int32)[None, :]
    start = first_lengths[:, None].astype(jnp.int32)
    index = jnp.where(at < start, at, jnp.minimum(at - start + t1, t1 + t2 - 1))
    return _gather_rows(both, index), first_lengths + second_lengths


def take(x: Array, start: Int[Array, " b"], t: int) -> Array:
    """`t` frames of each row from that row's `start`; beyond the end the last frame is repeated (as padding)."""
    at = jnp.arange(t, dtype=jnp.int32)[None, :] + start[:, None].astype(jnp.int32)
    return _gather_rows(x, jnp.minimum(at, x.shape[1] - 1))

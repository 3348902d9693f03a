"""Attention by JAX's splash kernel: on a TPU scores stay on the chip, and nothing of [frames, frames] is written.

The kernel works on blocks of 128 frames and more, so that sequences are padded to whole ones, and on the rows and heads
of one device: where a mesh is active it is mapped over that.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

from metis_jax.layers.placement import fitting
from metis_jax.types import BATCH, HEADS, TIME, Array, Float, Int

_LANES = 128
_LARGEST_BLOCK = 640  # frames; scores of one block are float32 in a memory of some MiB


def splash_attention(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b s n h"],
    v: Float[Array, "b s n h"],
    lengths: Int[Array, " b"],
    *,
    interpret: bool,
) -> Float[Array, "b t n h"]:
    """Softmax attention over the first `lengths` keys; `interpret` runs the kernel's program on any device."""
    axes = nn.logical_to_mesh_axes((BATCH, TIME, HEADS, None))
    mesh = jax.sharding.get_abstract_mesh()
    run = functools.partial(_on_one_device, interpret=interpret)
    if not mesh.empty:
        lengths_axes = jax.sharding.PartitionSpec(axes[0])
        specs = (axes, axes, axes, lengths_axes)
        run = jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=axes, check_vma=False)
    return run(q, k, v, lengths)


def fits_mesh(rows: int, heads: int) -> bool:
    """Whether the devices of the active mesh divide rows and heads; one example at initialisation they do not."""
    return None not in fitting((BATCH, HEADS), (rows, heads))


def _on_one_device(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b s n h"],
    v: Float[Array, "b s n h"],
    lengths: Int[Array, " b"],
    *,
    interpret: bool,
) -> Float[Array, "b t n h"]:
    frames, heads = q.shape[1], q.shape[2]
    q, k, v = (_in_blocks(x) for x in (q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype), k, v))
    t, s = q.shape[2], k.shape[2]
    attend = kernel.make_splash_mha(
        masks.MultiHeadMask([masks.FullMask((t, s))] * heads),
        block_sizes=_block_sizes(t, s),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    # Queries behind the end see what the others see: their output is cut off, or not read.
    queries = jnp.ones((q.shape[0], t), jnp.int32)
    keys = (jnp.arange(s, dtype=lengths.dtype)[None, :] < lengths[:, None]).astype(jnp.int32)
    # The kernel's own arithmetic mixes types, which the strict mode of our tests would refuse.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = jax.vmap(attend)(q, k, v, kernel.SegmentIds(queries, keys))
    return found.transpose(0, 2, 1, 3)[:, :frames]


def _in_blocks(x: Float[Array, "b t n h"]) -> Float[Array, "b n t2 h"]:
    """Heads before frames, and as many of these as blocks hold."""
    return jnp.pad(x.transpose(0, 2, 1, 3), ((0, 0), (0, 0), (0, -x.shape[1] % _LANES), (0, 0)))


def _block_sizes(t: int, s: int) -> kernel.BlockSizes:
    """The largest blocks that divide the frames."""
    q, kv = (max(b for b in range(_LANES, _LARGEST_BLOCK + 1, _LANES) if size % b == 0) for size in (t, s))
    return kernel.BlockSizes(
        block_q=q,
        block_kv=kv,
        block_kv_compute=kv,
        block_q_dkv=q,
        block_kv_dkv=kv,
        block_kv_dkv_compute=kv,
        block_q_dq=q,
        block_kv_dq=kv,
    )

"""Array aliases, axis letters, logical axis names and the execution policy shared by the whole package.

Axis letters, in shape annotations and einsum strings alike:

    b batch             t frames              s attended frames      l waveform samples
    d model width       n heads               h head width           f feed-forward width
    c channels or code width                  v vocabulary or codebook size
    q quantizer level   m mel bins            p phones
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

__all__ = ["Array", "Bool", "DType", "Float", "Int", "Key", "Policy", "UInt8", "Variables"]

# What `astype` takes; JAX's scalar types are not instances of any one class.
DType = Any
# A Flax variable tree: {"params": {...}, "statistics": {...}, ...}.
Variables = dict[str, Any]

# Logical axis names.  Only `sharding.py` knows which mesh axes they land on.
BATCH = "batch"
TIME = "time"
EMBED = "embed"  # the residual width of a model
MLP = "mlp"  # feed-forward width
HEADS = "heads"  # heads times head width
VOCAB = "vocab"  # token and phone vocabularies
CODES = "codes"  # the low-dimensional space in which codes are looked up
CHANNELS = "channels"  # convolution channels
LAYERS = "layers"  # the leading axis of scanned stacks
LEVELS = "levels"  # quantizer levels
RANK = "rank"  # LoRA rank

LOGICAL_AXES = (BATCH, TIME, EMBED, MLP, HEADS, VOCAB, CODES, CHANNELS, LAYERS, LEVELS, RANK)
# Axes along which parameters may be split to store them, but are whole where they are used.
STORED_SPLIT = (EMBED, CHANNELS)

REMAT_POLICIES = ("none", "full", "dots")
ATTENTION_BACKENDS = ("auto", "xla", "heads", "splash", "cudnn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """How a model is executed; nothing here changes what it computes beyond rounding.

    Attributes:
      dtype: compute dtype of matrix products and activations.  Parameters are float32, and softmax, norm
        statistics, losses, STFT and code distances are computed in float32 whatever is set here.
      remat: what the backward pass recomputes: "none", "full" (every block) or "dots" (all but matrix products).
      scan: whether stacks of equal layers are scanned (compiled once) or unrolled.
      attention: "xla", all heads at once; "heads", one after the other, which is what a CPU's caches like; "splash"
        (TPU) and "cudnn" (NVIDIA, bfloat16), whose scores are never written; "auto", what suits the devices.
    """

    dtype: str = "float32"
    remat: str = "none"
    scan: bool = True
    attention: str = "auto"

    def __post_init__(self):
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"policy.dtype is {self.dtype!r}; use float32 or bfloat16")
        if self.remat not in REMAT_POLICIES:
            raise ValueError(f"policy.remat is {self.remat!r}; use one of {', '.join(REMAT_POLICIES)}")
        if self.attention not in ATTENTION_BACKENDS:
            raise ValueError(f"policy.attention is {self.attention!r}; use one of {', '.join(ATTENTION_BACKENDS)}")

    @property
    def compute_dtype(self) -> jnp.dtype:
        return jnp.dtype(self.dtype)

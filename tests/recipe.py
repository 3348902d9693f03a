"""Weights and inputs that the golden files were computed with, drawn again from nothing but names and shapes.

A checkpoint is never stored: an array is standard normal noise from a Philox stream keyed by its name, moved to a range
that suits the role which the name tells.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from metis_jax.convert.rules import Rule

# last part of the name -> (offset, spread, whether the noise is folded to positive values)
_BY_LEAF = {
    "running_var": (1, 0.1, True),
    "weight_g": (1, 0.1, True),
    "alpha": (1, 0.1, True),
    "running_mean": (0, 0.1, False),
    "gamma": (0.1, 0.02, False),
    "gate_scale": (0.5, 0.1, False),
}


def _stream(label: str) -> np.random.Generator:
    key = hashlib.sha256(label.encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def _range(name: str, shape: Sequence[int]) -> tuple[float, float, bool]:
    parts = name.split(".")
    leaf = parts[-1]
    if leaf in _BY_LEAF:
        return _BY_LEAF[leaf]
    is_bias = leaf == "bias" or leaf.startswith("bias_")
    if "to_weight" in parts[:-1]:  # the scale of an adaptive norm as a linear function
        return (1, 0.05, False) if is_bias else (0, 0.02, False)
    if is_bias:
        return 0, 0.02, False
    if len(shape) == 1:  # the scale of a norm
        return 1, 0.05, False
    if "emb" in name.lower() or "codebook" in name:
        return 0, 0.5, False
    return 0, 1 / math.sqrt(max(math.prod(shape[1:]), 1)), False


def tensor(name: str, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """The array that stands for the checkpoint's tensor `name`."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    noise = _stream(f"{seed}:{name}").standard_normal(tuple(shape), dtype=np.float32)
    offset, spread, is_positive = _range(name, shape)
    noise = np.abs(noise) if is_positive else noise
    return np.asarray(np.float32(offset) + np.float32(spread) * noise)


def state_dict(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> dict[str, np.ndarray]:
    """A whole checkpoint."""
    return {name: tensor(name, shape, seed) for name, shape in shapes.items()}


def inputs(label: str, shape: Sequence[int], scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """A float input of a golden."""
    return np.float32(scale) * _stream(f"{seed}:input:{label}").standard_normal(tuple(shape), dtype=np.float32)


def token_inputs(label: str, shape: Sequence[int], vocabulary: int, seed: int = 0) -> np.ndarray:
    """A token input of a golden."""
    return _stream(f"{seed}:tokens:{label}").integers(0, vocabulary, tuple(shape)).astype(np.int32)


def official_shapes(rules: Sequence[Rule], shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """{tensor name: shape} of the checkpoint whose variables have `shapes`, {our path: shape}."""
    result = {}
    for rule in rules:
        shape = tuple(shapes[rule.ours])
        official = rule.official_shape(shape)
        result |= {name: official for _, name in rule.names(shape[: len(rule.indices)])}
    return result

"""The devices that a program is made for, and logical axis names on them as far as they divide an array."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax


def fitting(axes: Sequence[str | None], shape: Sequence[int]) -> tuple[str | None, ...]:
    """The logical names of dimensions that the devices of their mesh axis divide, None for the others.

    Without a mesh all fit: there is nothing to divide.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return tuple(axes)
    spec = nn.logical_to_mesh_axes(axes)
    parts = [math.prod(mesh.shape[name] for name in _names(entry)) for entry in spec]
    return tuple(axis if size % n == 0 else None for axis, size, n in zip(axes, shape, parts, strict=True))


def target_devices() -> tuple[jax.Device | jax.sharding.AbstractDevice, int]:
    """One of the devices that the program is made for, and their number.

    They are those of the active mesh, which need not be of this machine, or else all that there are.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.abstract_device is None:
        return jax.devices()[0], jax.device_count()
    return mesh.abstract_device, mesh.size


def _names(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if entry is None else (entry,) if isinstance(entry, str) else entry

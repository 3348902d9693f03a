"""The mesh, and the one table that lands logical axis names on it.

Three mesh axes: `data` splits the batch, `fsdp` splits the batch and the parameters, `tensor` splits heads and
feed-forward widths.  Modules name logical axes only, so a run moves from one device to a pod by its `mesh` section.

The mesh is entered by `activate`: `jax.set_mesh` with Auto axis types together with the rules.  Flax drops sharding
constraints without a word when either is missing, which `tests/test_sharding.py` guards by counting them.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax
import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from metis_jax.types import (
    BATCH,
    CHANNELS,
    CODES,
    EMBED,
    HEADS,
    LAYERS,
    LEVELS,
    MLP,
    RANK,
    TIME,
    VOCAB,
    Array,
)

MESH_AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")

# Vocabularies stay whole: a table split over two mesh axes makes XLA gather all of it at every look-up.
RULES: tuple[tuple[str, str | tuple[str, ...] | None], ...] = (
    (BATCH, BATCH_AXES),
    (EMBED, "fsdp"),
    (CHANNELS, "fsdp"),
    (MLP, "tensor"),
    (HEADS, "tensor"),
    (TIME, None),
    (VOCAB, None),
    (CODES, None),
    (LAYERS, None),
    (LEVELS, None),
    (RANK, None),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Devices along each mesh axis; one of them may be -1, "all that are left"."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1

    def __post_init__(self):
        sizes = (self.data, self.fsdp, self.tensor)
        if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
            raise ValueError(f"mesh (data, fsdp, tensor) is {sizes}; use positive sizes, at most one of them -1")


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh over `devices` (default: all), neighbours in it near each other on the devices' network.

    TPU slices are joined along `data`, the axis that says the least.  ValueError where the sizes do not multiply to the
    number of devices, or where slices can not be laid out so.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = [config.data, config.fsdp, config.tensor]
    fixed = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and len(devices) % fixed == 0:
        sizes[sizes.index(-1)] = len(devices) // fixed
    if -1 in sizes or math.prod(sizes) != len(devices):
        raise ValueError(
            f"mesh (data, fsdp, tensor) = {(config.data, config.fsdp, config.tensor)} does not divide "
            f"{len(devices)} devices; choose config.mesh sizes whose product is {len(devices)}"
        )
    return Mesh(_arranged(tuple(sizes), devices), MESH_AXES, axis_types=(AxisType.Auto,) * 3)


def _arranged(sizes: tuple[int, ...], devices: Sequence[Any]) -> np.ndarray:
    """The devices as an array of `sizes`."""
    # Devices of a described topology have the number of their slice where there are several alone.
    slices = len({getattr(device, "slice_index", 0) for device in devices}) if devices[0].platform == "tpu" else 1
    data, *inside = sizes
    if data % slices:
        raise ValueError(
            f"mesh (data, fsdp, tensor) = {sizes} on {slices} TPU slices: slices are joined along data; "
            f"choose a config.mesh.data that is a multiple of {slices}"
        )
    try:
        if slices > 1:
            return mesh_utils.create_hybrid_device_mesh(
                (data // slices, *inside), (slices, 1, 1), devices, allow_split_physical_axes=True
            )
        return mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    except (NotImplementedError, AssertionError) as error:
        raise ValueError(
            f"mesh (data, fsdp, tensor) = {sizes} can not be laid out on the network of these {len(devices)} "
            f"{devices[0].device_kind} devices; take whole slices, and config.mesh sizes that are products of theirs"
        ) from error


@contextlib.contextmanager
def activate(mesh: Mesh) -> Iterator[Mesh]:
    """Everything traced inside honours sharding constraints."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
        yield mesh


def parameter_spec(names: Sequence[str | None], shape: Sequence[int], mesh: Mesh) -> PartitionSpec:
    """The mesh axis of every dimension; a dimension that its mesh axis does not divide stays whole."""
    rules, used, spec = dict(RULES), set(), []
    for name, size in zip(names, shape, strict=True):
        axis = rules[name] if name is not None else None
        if axis is None or axis in used or size % mesh.shape[axis]:
            spec.append(None)
        else:
            spec.append(axis)
            used.add(axis)
    while spec and spec[-1] is None:
        spec.pop()
    return PartitionSpec(*spec)


def _is_boxed(leaf: Any) -> bool:
    return isinstance(leaf, nn.Partitioned)


def parameter_shardings(boxed: Any, mesh: Mesh) -> Any:
    """Shardings of an abstract tree whose leaves carry logical names (`eval_shape` of a Linen `init`)."""

    def sharding(leaf: Any) -> NamedSharding:
        if _is_boxed(leaf):
            return NamedSharding(mesh, parameter_spec(leaf.names, leaf.value.shape, mesh))
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree.map(sharding, boxed, is_leaf=_is_boxed)


def unboxed(tree: Any) -> Any:
    """The tree without its logical names.

    `nn.unbox` would also constrain every leaf by them under an active mesh; here the shardings of outputs do that.
    """
    return jax.tree.map(lambda leaf: leaf.value if _is_boxed(leaf) else leaf, tree, is_leaf=_is_boxed)


def specs_as_text(shardings: Any) -> dict[str, str]:
    """{parameter path: partition spec}, for golden files."""
    flat = flax.traverse_util.flatten_dict(shardings, sep="/")
    return {path: str(tuple(sharding.spec)) for path, sharding in sorted(flat.items())}


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis over `data` and `fsdp`, the rest whole."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_parts(mesh: Mesh) -> int:
    """Into how many equal parts the rows of a batch are split."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def own_blocks(mesh: Mesh) -> tuple[tuple[int, ...], int]:
    """Which blocks of a batch's rows the devices of this process hold, and into how many equal ones it is split.

    Where `tensor` spans processes several of them hold the same blocks, and those of one process may lie apart.
    """
    count = batch_parts(mesh)
    held = batch_sharding(mesh).addressable_devices_indices_map((count,)).values()
    return tuple(sorted({range(count)[rows][0] for (rows,) in held})), count


def feed(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, Array]:
    """Host arrays of this process's rows (`own_blocks`) to global arrays, split along the leading axis."""
    sharding = batch_sharding(mesh)
    blocks, count = own_blocks(mesh)

    def whole(local: np.ndarray) -> Array:
        size = len(local) // len(blocks)

        def block(index: tuple[slice, ...]) -> np.ndarray:
            position = blocks.index((index[0].start or 0) // size)
            return local[position * size : (position + 1) * size]

        return jax.make_array_from_callback((size * count, *local.shape[1:]), sharding, block)

    return {key: whole(local) for key, local in batch.items()}


def to_devices(value: np.ndarray, sharding: NamedSharding) -> Array:
    """A host array that is the same in every process to a global one; each device is given its part alone."""
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def to_host(value: Array) -> np.ndarray:
    """The whole of an array, wherever its parts lie; every process must ask for it."""
    if not (value.is_fully_addressable or value.is_fully_replicated):
        value = multihost_utils.process_allgather(value, tiled=True)
    return np.asarray(value)

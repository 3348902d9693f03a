"""Devices that are described and not there: TPU slices and GPU hosts by name, and what a device of them can do.

v5e:16x16, v5p:4x4x4, v6e:16x16    one slice of TPUs
2xv5e:16x16                        several, joined by the data centre's network
h100:8x8                           hosts x GPUs of each
"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Sequence

import jax
from jax.experimental import topologies


@dataclasses.dataclass(frozen=True)
class Chip:
    """What one device can do at most, as its maker states it.

    Attributes:
      flops: bfloat16 operations a second.
      memory: bytes.
      bandwidth: of that memory, bytes a second.
      links: bytes a second that leave it for the other devices of its slice or host, over all links.
      network: bytes a second that leave it for other slices or hosts.
    """

    flops: float
    memory: int
    bandwidth: float
    links: float
    network: float


CHIPS = {
    "v5e": Chip(197e12, 16 * 2**30, 819e9, 200e9, 3.1e9),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 600e9, 6.2e9),
    "v6e": Chip(918e12, 32 * 2**30, 1638e9, 400e9, 12.5e9),
    "h100": Chip(989e12, 80 * 10**9, 3350e9, 450e9, 50e9),
}
# What a GPU's compiler asks of a device that is there: of the SXM module, as NVIDIA's H100 architecture paper and the
# table of compute capability 9.0 in its CUDA programming guide state it.
_GPUS = {
    "h100": """
        platform_name: "CUDA"
        device_description_str: "NVIDIA H100 80GB HBM3"
        dnn_version_info { major: 9 minor: 8 }
        gpu_device_info {
          cuda_compute_capability { major: 9 }
          core_count: 132
          fpus_per_core: 128
          clock_rate_ghz: 1.98
          device_memory_size: 80000000000
          memory_bandwidth: 3350000000000
          l2_cache_size: 52428800
          threads_per_warp: 32
          threads_per_block_limit: 1024
          threads_per_core_limit: 2048
          block_dim_limit_x: 2147483647
          block_dim_limit_y: 65535
          block_dim_limit_z: 65535
          registers_per_core_limit: 65536
          registers_per_block_limit: 65536
          shared_memory_per_core: 233472
          shared_memory_per_block: 49152
          shared_memory_per_block_optin: 232448
        }
    """,
}
_NAME = re.compile(r"(?:([2-9]|[1-9]\d+)x)?(\w+):(\d+(?:x\d+){1,2})")
# The compiler looks for a machine around it, and for another process that holds the chip.
_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def parse(name: str) -> tuple[int, str, str]:
    """(slices, chip, shape of a slice, or hosts x GPUs) of a topology's name; ValueError where it is none."""
    found = _NAME.fullmatch(name)
    if not found or found[2] not in CHIPS:
        raise ValueError(
            f"topology {name!r} is not known; give CHIP:AxB, as v5e:16x16, or NxCHIP:AxB for N slices, with one of "
            f"{', '.join(CHIPS)}"
        )
    if found[2] in _GPUS and (found[1] or found[3].count("x") != 1 or 0 in map(int, found[3].split("x"))):
        raise ValueError(f"topology {name!r}: GPUs have no slices; give {found[2]}:HOSTSxGPUS, as {found[2]}:8x8")
    return int(found[1] or 1), found[2], found[3]


def devices_of(name: str) -> Sequence[jax.Device]:
    """The devices of a topology, for which programs can be compiled; ValueError where there is none such."""
    slices, chip, shape = parse(name)
    if chip in _GPUS:
        return _gpus(chip, shape)
    _check_libtpu()
    os.environ.update({key: value for key, value in _ALONE.items() if key not in os.environ})
    try:
        several = {"num_slices": slices} if slices > 1 else {}
        return topologies.get_topology_desc(platform="tpu", topology_name=f"{chip}:{shape}", **several).devices
    except Exception as error:  # the compiler's library says in many ways that it knows no such slice
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"topology {name!r}: no slice of {chip} has this shape ({reason})") from None


def _check_libtpu() -> None:
    """ValueError unless the compiler for TPUs is there, in the version that goes with this one of JAX."""
    wanted = [one for one in importlib.metadata.requires("jax") or () if one.startswith("libtpu")]
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError('the compiler for TPUs is not there (libtpu); pip install "metis_jax[tpu]"')
    version = importlib.metadata.version("libtpu")
    pinned = re.match(r"libtpu==([\d.]+)\.\*", wanted[0]) if wanted else None
    if pinned and not f"{version}.".startswith(f"{pinned[1]}."):
        raise ValueError(
            f"the compiler for TPUs is libtpu {version}, and jax {jax.__version__} goes with {pinned[1]}; "
            f'pip install "libtpu=={pinned[1]}.*"'
        )


def _gpus(chip: str, shape: str) -> Sequence[jax.Device]:
    try:
        # Partitions, whose devices have links to each other, of one host each.
        shape = shape.replace("x", "x1x")
        return topologies.get_topology_desc(platform="cuda", target_config=_GPUS[chip], topology=shape).devices
    except NotImplementedError:
        packages = " ".join(f"jax-cuda13-{part}=={jax.__version__}" for part in ("plugin", "pjrt"))
        raise ValueError(f"the compiler for GPUs is not there; pip install --no-deps {packages}") from None

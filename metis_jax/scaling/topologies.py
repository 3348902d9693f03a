"""Devices that are described and not there: TPU slices by name, and what their makers say a chip can do.

v5e:16x16, v5p:4x4x4, v6e:16x16    one slice
2xv5e:16x16                        several, joined by the data centre's network
"""

import dataclasses
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
      links: bytes a second that leave it for the other devices of its slice, over all links.
    """

    flops: float
    memory: int
    bandwidth: float
    links: float


CHIPS = {
    "v4": Chip(275e12, 32 * 2**30, 1228e9, 300e9),
    "v5e": Chip(197e12, 16 * 2**30, 819e9, 200e9),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 600e9),
    "v6e": Chip(918e12, 32 * 2**30, 1640e9, 448e9),
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
    """(slices, chip, shape of a slice) of a topology's name; ValueError where it is none."""
    found = _NAME.fullmatch(name)
    if not found or found[2] not in CHIPS:
        raise ValueError(
            f"topology {name!r} is not known; give CHIP:AxB, as v5e:16x16, or NxCHIP:AxB for N slices, with one of "
            f"{', '.join(CHIPS)}"
        )
    return int(found[1] or 1), found[2], found[3]


def devices_of(name: str) -> Sequence[jax.Device]:
    """The devices of a topology, for which programs can be compiled; ValueError where there is none such."""
    slices, chip, shape = parse(name)
    os.environ.update({key: value for key, value in _ALONE.items() if key not in os.environ})
    try:
        several = {"num_slices": slices} if slices > 1 else {}
        return topologies.get_topology_desc(platform="tpu", topology_name=f"{chip}:{shape}", **several).devices
    except Exception as error:  # the compiler's library says in many ways that it is not there, or knows no such slice
        reason = str(error).strip().partition("\n")[0]
        if "libtpu" in reason.lower() or "Unable to initialize backend" in reason:
            raise ValueError(f'the compiler for TPUs is not there ({reason}); pip install "metis_jax[tpu]"') from None
        raise ValueError(f"topology {name!r}: no slice of {chip} has this shape ({reason})") from None

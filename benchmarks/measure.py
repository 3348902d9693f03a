"""What benchmarks measure with: wall clock, peak memory, and the line that says where.

Arithmetic and the device's own limit come from `metis_jax.training.throughput`, which the trainer measures with too.
"""

import datetime
import importlib.metadata
import platform
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


def seconds(run: Callable[[], Any], repeats: int = 3) -> float:
    """Median wall-clock seconds of `run`, which is called once before; waits for the device."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_gib() -> float:
    """Peak memory so far: the device's own figure where it keeps one, else the process's resident set."""
    statistics_ = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics_:
        return statistics_["peak_bytes_in_use"] / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def environment() -> str:
    """Date, device and versions: the line above every committed table."""
    device = jax.devices()[0]
    kind = platform.processor() or platform.machine() if device.platform == "cpu" else device.device_kind
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "flax"))
    return f"{datetime.date.today()}, {device.platform} ({kind}), Python {platform.python_version()}, {versions}"

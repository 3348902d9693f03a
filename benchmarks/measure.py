"""What every benchmark measures with: wall clock, arithmetic of a traced function, and the device's own limit."""

import datetime
import importlib.metadata
import math
import platform
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def seconds(run: Callable[[], Any], repeats: int = 3) -> float:
    """Median wall-clock seconds of `run`, which is called once before; waits for the device."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matrix_rate(dtype: Any = jnp.float32, size: int | None = None) -> float:
    """Measured FLOP/s of a square matrix product: the limit that achieved rates are compared with."""
    size = size or (1536 if jax.default_backend() == "cpu" else 8192)
    a, b = (jax.random.normal(jax.random.key(i), (size, size), jnp.float32).astype(dtype) for i in range(2))
    product = jax.jit(jnp.matmul)
    return 2 * size**3 / seconds(lambda: product(a, b), repeats=5)


def count_flops(function: Callable, *args: Any) -> float:
    """FLOPs of the matrix products and convolutions of one call, loops included as often as they run.

    XLA's own count takes the body of a scan once, which for scanned stacks is wrong by the number of layers.
    """
    return _jaxpr_flops(jax.make_jaxpr(function)(*args).jaxpr)


def _jaxpr_flops(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contract, _), _ = params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contract)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = kernel[params["dimension_numbers"].rhs_spec[0]]
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) / outputs
        else:
            inner = [getattr(value, "jaxpr", value) for value in params.values() if _is_jaxpr(value)]
            total += params.get("length", 1) * sum(_jaxpr_flops(one) for one in inner)
    return total


def _is_jaxpr(value: Any) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")


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

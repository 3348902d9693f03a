"""How much arithmetic a step is, and how much the device could do: the two sides of model FLOPs utilization.

Multiply-adds of matrix products and convolutions are counted (as two) in the traced program, loops included: XLA's own
count takes the body of a scan once.  What rematerialisation repeats is not counted, by tracing without it.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.clock import ssl_frames
from metis_jax.training.state import all_params
from metis_jax.training.trainers.protocol import Batch, Params, Trainer


def count_flops(function: Callable[..., Any], *args: Any) -> float:
    """Floating-point operations of one call; arguments may be shapes."""
    return flops_of(jax.make_jaxpr(function)(*args).jaxpr)


def _inner(params: Mapping[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item


def flops_of(jaxpr: Any) -> float:
    """Floating-point operations of a traced program, on all of its devices together."""
    total = 0.0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            features = kernel[params["dimension_numbers"].rhs_spec[0]]
            # Every output value is a product over the kernel's window and its group's inputs.
            total += 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) / features
        elif name == "cond":
            total += max((flops_of(branch) for branch in _inner(params)), default=0.0)
        else:
            total += _repeats(name, params) * sum(flops_of(inner) for inner in _inner(params))
    return total


def _repeats(name: str, params: Mapping[str, Any]) -> int:
    """How often a primitive runs the program inside of it: over steps, over the blocks of a kernel, or on devices."""
    if name == "pallas_call":
        return math.prod(params["grid_mapping"].grid)
    return params["length"] if name == "scan" else params["mesh"].size if name == "shard_map" else 1


def step_flops(trainer: Trainer, trainable: Params, frozen: Params, batch: Mapping[str, Any]) -> float:
    """Forward and backward pass of one step over the global batch, arrays or shapes; frozen models count once."""
    trainer = trainer.executed(remat="none", attention="xla")

    def gradients(trainable: Params, frozen: Params, batch: Batch) -> Any:
        def loss(trainable: Params) -> Any:
            return trainer.loss(all_params(trainable, frozen), batch, jax.random.key(0), deterministic=False).mean

        return jax.grad(loss)(trainable)

    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (trainable, frozen, dict(batch)))
    return count_flops(gradients, *shapes)


def valid_share(batch: Mapping[str, np.ndarray]) -> float:
    """How much of a batch is not padding: what a step does for the rest is no use."""
    if "wave" in batch:
        return float(batch["wave_lengths"].sum() / batch["wave"].size)
    t = batch["tokens"].shape[1] if "tokens" in batch else ssl_frames(batch["target"].shape[1])
    return float(np.mean(batch["lengths"]) / t)


@functools.cache
def matrix_product_rate(dtype: str, size: int = 0) -> float:
    """Measured operations per second of one device on large square matrix products, the best of several rounds."""
    size = size or (1024 if jax.default_backend() == "cpu" else 8192)
    x = jnp.ones((size, size), jnp.dtype(dtype))
    repeats = 4 if jax.default_backend() == "cpu" else 32

    @jax.jit
    def run(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, repeats, lambda _, y: (y @ x) * jnp.asarray(1 / size, y.dtype), x)

    run(x).block_until_ready()
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        run(x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 * repeats / best

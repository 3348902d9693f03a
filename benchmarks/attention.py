"""Attention by every backend that this machine has: milliseconds forward and backward, memory, and how far from exact.

    python benchmarks/attention.py --size=full --dtype=bfloat16
    python benchmarks/attention.py --size=tiny

Full is a layer of the published generators on the paper's batch: eight rows of 1250 frames, 16 heads of 64.  The limit
is the time that the products would take at the rate of a large matrix product, measured in the same run.
"""

import functools

import jax
import jax.numpy as jnp
from absl import app, flags
from measure import environment, seconds

from metis_jax.layers.attention import attention
from metis_jax.training.throughput import matrix_product_rate
from metis_jax.types import ATTENTION_BACKENDS

_SIZE = flags.DEFINE_enum("size", "tiny", ["tiny", "full"], "which shapes")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "of queries, keys and values")
SHAPES = {"tiny": (2, 200, 2, 32), "full": (8, 1250, 16, 64)}


def available(backend: str, dtype: str) -> bool:
    """Whether a backend can run here."""
    platform = jax.default_backend()
    return {"splash": platform == "tpu", "cudnn": platform == "gpu" and dtype == "bfloat16"}.get(backend, True)


def main(_: list[str]) -> None:
    b, t, n, h = shape = SHAPES[_SIZE.value]
    dtype = jnp.dtype(_DTYPE.value)
    exact = [jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0), 3)]
    q, k, v = (x.astype(dtype) for x in exact)
    lengths = jnp.full(b, t, jnp.int32)

    def total(q: jax.Array, k: jax.Array, v: jax.Array, backend: str) -> tuple[jax.Array, jax.Array]:
        y = attention(q, k, v, lengths, backend=backend)
        return jnp.sum(jnp.square(y.astype(jnp.float32))), y

    truth = attention(*exact, lengths, backend="xla")
    # Two products forward, four backward, and the two of the forward pass again.
    limit = 8 * 2.0 * b * n * t * t * h / matrix_product_rate(_DTYPE.value)
    print(environment(), f"shape {shape}, {_DTYPE.value}; products alone: {1e3 * limit:.2f} ms", sep="\n")
    print("| backend | forward ms | forward and backward ms | share of the limit | largest difference |")
    print("| --- | --- | --- | --- | --- |")
    for backend in ATTENTION_BACKENDS:
        if not available(backend, _DTYPE.value):
            continue
        run = functools.partial(total, backend=backend)
        forward = jax.jit(lambda q, k, v, run=run: run(q, k, v)[1])
        both = jax.jit(jax.grad(run, argnums=(0, 1, 2), has_aux=True))
        difference = jnp.max(jnp.abs(forward(q, k, v).astype(jnp.float32) - truth))
        first, second = (seconds(lambda f=f: f(q, k, v)) for f in (forward, both))
        print(f"| {backend} | {1e3 * first:.2f} | {1e3 * second:.2f} | {limit / second:.2f} | {difference:.1e} |")


if __name__ == "__main__":
    app.run(main)

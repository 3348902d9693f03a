"""Whether bfloat16 pays on this device: a matrix product of the published generators, as XLA runs it.

    python benchmarks/products.py

Rows are the frames of a guided request of 13 s, twice 650; the matrix is that of a feed-forward layer, 1536 to 6144.
The ways are timed in turn, so that what else the machine does meets all of them.  `multiplied as` is the type of the
operands in the compiled program: where it is not the given one, they are converted first.
"""

import re
import time

import jax
import jax.numpy as jnp
from absl import app, flags
from measure import environment

_SHAPE = flags.DEFINE_list("shape", ["1300", "1536", "6144"], "rows, width in and width out")
_ROUNDS = flags.DEFINE_integer("rounds", 20, "of which the fastest counts", 1, 1000)
# {operands, result}: what a layer can ask for.
WAYS = (("float32", "float32"), ("bfloat16", "bfloat16"), ("bfloat16", "float32"))


def multiplied_as(program: str) -> str:
    """The type of the operands of the product in a compiled program."""
    [operands] = re.findall(r" dot\((%[\w.]+), %[\w.]+\)", program)
    types = {"f32": "float32", "bf16": "bfloat16"}
    return types[re.search(rf"{re.escape(operands)} = (\w+)\[", program)[1]]


def main(_: list[str]) -> None:
    rows, width, out = map(int, _SHAPE.value)
    products = {}
    for operands, result in WAYS:
        x, kernel = jnp.ones((rows, width), operands), jnp.ones((width, out), operands)
        product = jax.jit(lambda x, kernel, result=result: jnp.matmul(x, kernel, preferred_element_type=result))
        products[operands, result] = product.lower(x, kernel).compile(), x, kernel
    best = dict.fromkeys(products, float("inf"))
    for _ in range(_ROUNDS.value):
        for way, (product, x, kernel) in products.items():
            start = time.perf_counter()
            product(x, kernel).block_until_ready()
            best[way] = min(best[way], time.perf_counter() - start)
    print(f"{environment()}; [{rows}, {width}] x [{width}, {out}], the best of {_ROUNDS.value} rounds\n")
    print("| operands | result | multiplied as | ms | GFLOP/s | of float32 |\n| --- | --- | --- | ---: | ---: | ---: |")
    for (operands, result), seconds in best.items():
        kind, rate = multiplied_as(products[operands, result][0].as_text()), 2e-9 * rows * width * out / seconds
        share = best["float32", "float32"] / seconds
        print(f"| {operands} | {result} | {kind} | {1e3 * seconds:.1f} | {rate:.0f} | {share:.2f} |")


if __name__ == "__main__":
    app.run(main)

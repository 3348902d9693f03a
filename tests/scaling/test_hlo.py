"""What a program is said to move, against programs of which it is known."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from metis_jax.scaling.hlo import bytes_of, read


@pytest.mark.parametrize(
    ("type_", "size"),
    [
        ("f32[]", 4),
        ("bf16[8,1280]{1,0:T(8,128)(2,1)S(1)}", 8 * 1280 * 2),
        ("(f32[64]{0}, /*index=5*/s32[2,3], pred[7], token[])", 64 * 4 + 24 + 7),
        ("f8e4m3fn[16]", 16),
    ],
)
def test_bytes_of_a_type(type_, size):
    assert bytes_of(type_) == size


def test_a_loop_counts_as_often_as_it_runs():
    """Seven products of matrices that lie on four devices, each gathered inside the loop."""
    mesh = Mesh(jax.devices()[:4], ("x",))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((None, "x"), ()))

    def run(x, weights):
        def body(x, w):
            return jnp.tanh(x @ jax.lax.with_sharding_constraint(w, whole)), None

        return jax.lax.scan(body, x, weights)[0]

    weights = jax.ShapeDtypeStruct((7, 64, 64), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(None, "x")))
    x = jax.ShapeDtypeStruct((32, 64), jnp.float32, sharding=whole)
    found = read(jax.jit(run, out_shardings=split).lower(x, weights).compile().as_text())
    gathered = sum(one.bytes for one in found.collectives if one.kind == "all-gather")
    assert gathered >= 7 * 64 * 64 * 4
    assert {one.times for one in found.collectives} == {7}
    # At least the weights are read, and every product's result written.
    assert found.traffic >= 7 * (64 * 64 + 32 * 64) * 4


TPU = """HloModule jit_step, is_scheduled=true

%body (p: (s32[], bf16[8,128])) -> (s32[], bf16[8,128]) {
  %p = (s32[]{:T(128)}, bf16[8,128]{1,0}) parameter(0)
  %x = bf16[8,128]{1,0} get-tuple-element(%p), index=1
  %all-gather-start.1 = (bf16[2,128]{1,0}, bf16[8,128]{1,0}) all-gather-start(%x), dimensions={0}
  %all-gather-done.1 = bf16[8,128]{1,0} all-gather-done(%all-gather-start.1)
  %custom-call.1 = bf16[8,128]{1,0} custom-call(%all-gather-done.1), custom_call_target="tpu_custom_call"
  ROOT %t = (s32[], bf16[8,128]{1,0}) tuple(%x, %custom-call.1)
}

%condition (p.1: (s32[], bf16[8,128])) -> pred[] {
  %c = s32[]{:T(128)} constant(16)
  %p.1 = (s32[]{:T(128)}, bf16[8,128]{1,0}) parameter(0)
  %g = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%g, %c), direction=LT
}

ENTRY %main (a: (s32[], bf16[8,128])) -> (s32[], bf16[8,128]) {
  %a = (s32[]{:T(128)}, bf16[8,128]{1,0}) parameter(0)
  ROOT %while.1 = (s32[]{:T(128)}, bf16[8,128]{1,0}) while(%a), condition=%condition, body=%body
}
"""


def test_what_a_tpu_compiler_writes_is_read():
    """Loops without a stated count, exchanges in two halves, kernels."""
    found = read(TPU)
    [one] = found.collectives
    assert (one.kind, one.times, one.bytes) == ("all-gather", 16, 16 * 8 * 128 * 2)
    assert found.kernels == {"tpu_custom_call": 16}
    # The kernel reads and writes one array, the comparison two numbers and a truth value.
    assert found.traffic == 16 * 2 * 8 * 128 * 2 + 16 * 9

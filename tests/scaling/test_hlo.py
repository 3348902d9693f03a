"""What a program is said to move, against programs of which it is known."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from metis_jax.scaling.hlo import arrays_of, bytes_of, groups, read


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


def test_arrays_of_a_type():
    assert arrays_of("(f32[64]{0}, bf16[8,1280]{1,0:T(8,128)(2,1)S(1)})") == ["f32[64]", "bf16[8,1280]"]


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
  %copy = s32[]{:T(128)S(1)} copy(%g), backend_config={"window_config":{"estimated_cycles":"5"}}
  %copy.1 = s32[]{:T(128)S(1)} copy(%g), backend_config={"window_config":{"estimated_cycles":"9223372036854775807"}}
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
    assert found.kernels == {"tpu_custom_call": 16} and found.cycles == 16 * 5
    # Exchange and kernel read and write an array each, the comparison two numbers and a truth value.
    assert found.traffic == 16 * 4 * 8 * 128 * 2 + 16 * 9


SPREAD = """HloModule jit_step, is_scheduled=true

%start (a: bf16[2,128]) -> (bf16[2,128], bf16[8,128]) {
  %a = bf16[2,128]{1,0} parameter(0)
  %all-gather.1 = bf16[8,128]{1,0} all-gather(%a), channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}
  ROOT %t = (bf16[2,128]{1,0}, bf16[8,128]{1,0}) tuple(%a, %all-gather.1)
}

%cut (b: bf16[16,64,128], c: s32[]) -> bf16[64,128] {
  %b = bf16[16,64,128]{2,1,0} parameter(0)
  %c = s32[] parameter(1)
  %d = bf16[1,64,128]{2,1,0} dynamic-slice(%b, %c, %c, %c), dynamic_slice_sizes={1,64,128}
  ROOT %e = bf16[64,128]{1,0} bitcast(%d)
}

%step (f: bf16[2,128], g: bf16[8,128], h: bf16[16,64,128], i: s32[]) -> (bf16[64,128], bf16[8,128]) {
  %h = bf16[16,64,128]{2,1,0} parameter(2)
  %i = s32[] parameter(3)
  %f = bf16[2,128]{1,0} parameter(0)
  %g = bf16[8,128]{1,0} parameter(1)
  %all-gather.2 = bf16[8,128]{1,0} all-gather(%f), channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}
  %j = bf16[64,128]{1,0} fusion(%h, %i), kind=kLoop, calls=%cut
  ROOT %t.1 = (bf16[64,128]{1,0}, bf16[8,128]{1,0}) tuple(%j, %all-gather.2)
}

ENTRY %main (k: bf16[2,128], l: bf16[16,64,128], m: s32[]) -> (bf16[64,128], bf16[8,128]) {
  %k = bf16[2,128]{1,0} parameter(0)
  %l = bf16[16,64,128]{2,1,0} parameter(1)
  %m = s32[] parameter(2)
  %n = (bf16[2,128]{1,0}, bf16[8,128]{1,0}) fusion(%k), kind=kCustom, calls=%start
  %o = bf16[8,128]{1,0} get-tuple-element(%n), index=1
  %all-reduce.1 = f32[32]{0} all-reduce(%m), channel_id=8, replica_groups=[2,2]<=[2,2]T(1,0)
  ROOT %p = (bf16[64,128]{1,0}, bf16[8,128]{1,0}) fusion(%k, %o, %l, %m), kind=kOutput, calls=%step
}
"""


def test_an_exchange_that_is_spread_over_fusions_is_one():
    """And of what a fusion inside of a fusion cuts, that part alone is read."""
    found = read(SPREAD)
    assert [(one.kind, one.bytes) for one in found.collectives] == [("all-reduce", 32 * 4), ("all-gather", 8 * 128 * 2)]
    gathered, summed, cut = (2 + 8) * 128 * 2, 32 * 4 + 4, 2 * 64 * 128 * 2
    assert found.traffic == gathered + summed + cut + 4  # and the number of the layer


def test_a_sum_that_is_cut_apart_is_no_sum_for_all():
    fused = """%all-reduce-scatter.1 (a: bf16[64,32]) -> bf16[64,8] {
  %a = bf16[64,32]{0,1} parameter(0)
  %all-reduce.1 = bf16[64,32]{0,1} all-reduce(%a), channel_id=3, replica_groups={{0,1,2,3}}, to_apply=%add
  %b = u32[] constant(0)
  ROOT %c = bf16[64,8]{0,1} dynamic-slice(%all-reduce.1, %b, %b), dynamic_slice_sizes={64,8}
}

ENTRY %main (d: bf16[64,32]) -> bf16[64,8] {
  %d = bf16[64,32]{0,1} parameter(0)
  ROOT %e = bf16[64,8]{0,1} fusion(%d), kind=kCustom, calls=%all-reduce-scatter.1
}
"""
    [one] = read(fused).collectives
    assert (one.kind, one.bytes, one.moved) == ("reduce-scatter", 64 * 32 * 2, 64 * 32 * 2)


def test_what_goes_over_the_network():
    """Devices 0 and 1 are of one host, 2 and 3 of another."""
    summed, gathered = read(SPREAD, places=(0, 0, 1, 1)).collectives
    # A sum of 0 with 2, and of 1 with 3: each device sends all of it.  Of what all four gather, each sends half.
    assert (summed.together, summed.networked) == (1, 2 * 32 * 4)
    assert (gathered.together, gathered.networked) == (2, 8 * 128 * 2 // 2)
    assert not any(one.networked for one in read(SPREAD, places=(0, 0, 0, 0)).collectives)


def test_sums_between_slices_go_over_the_network():
    sent = """ENTRY %main (a: f32[4,8]) -> f32[4,8] {
  %a = f32[4,8]{1,0} parameter(0)
  %b = token[] after-all()
  %c = (f32[4,8]{1,0}, u32[], token[]) send(%a, %b), frontend_attributes={_xla_megascale_transfer_type="ALL_REDUCE"}
}
"""
    [one] = read(sent).collectives
    assert (one.kind, one.bytes, one.networked) == ("all-reduce between slices", 128, 256)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("replica_groups={{0,1},{2,3}}, to_apply=%add", [[0, 1], [2, 3]]),
        ("replica_groups=[2,4]<=[8], dimensions={0}", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", [[0, 2, 4, 6], [1, 3, 5, 7]]),
        ("replica_groups=mesh['a'=2,'b'=3] {'b'}, dimensions={0}", [[0, 1, 2], [3, 4, 5]]),
        ("replica_groups=mesh['a'=2,'b'=3] {'a','b'}", [[0, 1, 2, 3, 4, 5]]),
        ("replica_groups=mesh['a'=1,'b'=3,'c'=2], device_ids=([2,3]T(1,0)) {'b'}", [[0, 1, 2], [3, 4, 5]]),
        ("source_target_pairs={{0,1},{1,0}}", []),
    ],
)
def test_groups_of_devices(text, found):
    assert groups(text) == found

"""Stacks of equal blocks: scanned or unrolled, rematerialised or not, with one parameter layout on disk.

A stackable block takes `(x, *shared)` and returns `(x, None)`, the carry form of `scan`.  Scanned parameters live under
`layers` with a leading layer axis; unrolled ones under `layers_0`, `layers_1`, ….  `stack_params` and
`unstack_params` convert between the two without loss.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax.types import LAYERS, Array, Policy

_CHECKPOINT_POLICIES = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def rematerialized(block: type[nn.Module], policy: Policy, *, is_scanned: bool = False) -> type[nn.Module]:
    """`block`, recomputed in the backward pass as `policy.remat` says; inside a scan that needs no barriers."""
    if policy.remat == "none":
        return block
    return nn.remat(block, prevent_cse=not is_scanned, policy=_CHECKPOINT_POLICIES[policy.remat])


def run_stack(
    block: type[nn.Module], num_layers: int, policy: Policy, x: Array, /, *shared: Array, **fields: Any
) -> Array:
    """Runs `num_layers` blocks on `x` from inside a compact method of the owner.

    Args:
      block: module class of one block; `fields` are its constructor fields.
      num_layers: how many.
      policy: `scan` and `remat` are honoured.
      x: the carry.
      shared: arrays every block receives unchanged.
    """
    block = rematerialized(block, policy, is_scanned=policy.scan)
    if not policy.scan:
        for layer in range(num_layers):
            x, _ = block(**fields, name=f"layers_{layer}")(x, *shared)
        return x
    scanned = nn.scan(
        block,
        variable_axes={"params": 0, "batch_stats": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=nn.broadcast,
        length=num_layers,
        metadata_params={nn.PARTITION_NAME: LAYERS},
    )
    x, _ = scanned(**fields, name="layers")(x, *shared)
    return x


def unstack_params(params: dict[str, Any]) -> dict[str, Any]:
    """Every `layers` subtree of a tree becomes `layers_0`, `layers_1`, …."""
    result = {}
    for name, child in params.items():
        if name == "layers":
            for layer in range(jax.tree.leaves(child)[0].shape[0]):
                result[f"layers_{layer}"] = jax.tree.map(lambda leaf, i=layer: leaf[i], child)
        else:
            result[name] = unstack_params(child) if isinstance(child, dict) else child
    return result


def stack_params(params: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `unstack_params`."""
    result = {}
    layers = {name: child for name, child in params.items() if name.startswith("layers_")}
    for name, child in params.items():
        if name not in layers:
            result[name] = stack_params(child) if isinstance(child, dict) else child
    if layers:
        ordered = [layers[f"layers_{layer}"] for layer in range(len(layers))]
        result["layers"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ordered)
    return result


def keep_layers(params: dict[str, Any], count: int) -> dict[str, Any]:
    """The first `count` layers of a scanned stack: `{"layers": …}` with shorter leading axes, the rest unchanged."""
    return params | {"layers": jax.tree.map(lambda leaf: leaf[:count], params["layers"])}

"""The arrays of a run: what moves (`TrainState`) and what does not (frozen parameters), both born sharded.

Frozen parameters are an argument of the step beside the state: they have no gradient, no moments and no place in a
checkpoint.  A run finds them again where it found them first, and `fingerprint` notices if they have changed since.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from metis_jax.sharding import parameter_shardings, replicated, unboxed
from metis_jax.training.optim import OptimizerConfig, join_trees, make_optimizer, split_trainable
from metis_jax.training.stage import Params, Stage, init_component
from metis_jax.types import Array, Key


@flax.struct.dataclass
class TrainState:
    """Everything a step changes.  Trees of this class also hold its shapes and shardings, hence the open types.

    step: steps taken, int32 [].
    params: {component: its trainable variables}.
    moments: {component: optimizer state of those}.
    ema: slow average of `params`, {} where it is off.
    """

    step: Any
    params: Any
    moments: Any
    ema: Any


def split_components(tree: Params, optimizers: Mapping[str, OptimizerConfig]) -> tuple[Params, Params]:
    """(what moves, what does not).  A component without an optimizer is frozen as a whole."""
    trainable, frozen = {}, {}
    for component, variables in tree.items():
        if component in optimizers:
            what = f"optimizers.{component}.trainable"
            trainable[component], frozen[component] = split_trainable(variables, optimizers[component].trainable, what)
            if not trainable[component]:
                raise ValueError(f"{what} freezes all of {component}; leave its optimizer out instead")
        else:
            frozen[component] = variables
    return trainable, frozen


def _check_components(stage: Stage, names: Sequence[str], what: str) -> None:
    known = sorted(stage.models())
    for name in names:
        if name not in known:
            raise ValueError(f"config.{what} names {name!r}; this stage has {', '.join(known)}")


def abstract_components(stage: Stage) -> Params:
    """Shapes of every component, with logical axis names."""
    key = jax.random.key(0)
    return {name: jax.eval_shape(lambda k, n=name: init_component(stage, n, k), key) for name in stage.models()}


def init_components(
    stage: Stage, key: Key[Array, ""], mesh: Mesh, initial: Mapping[str, dict[str, np.ndarray]]
) -> tuple[Params, Params, dict[str, list[str]]]:
    """Variables of every component, their shardings, and per component the paths that `initial` did not provide.

    Args:
      initial: {component: {path joined by "/": array}}; what it lacks (adapters of a task, for one) is drawn fresh.
    """
    _check_components(stage, list(initial), "initial")
    variables, shardings, fresh = {}, {}, {}
    for name, boxed in abstract_components(stage).items():
        shardings[name] = parameter_shardings(boxed, mesh)
        flat = flax.traverse_util.flatten_dict(shardings[name], sep="/")
        given = initial.get(name, {})
        shapes = {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(unboxed(boxed), sep="/").items()}
        for path, array in given.items():
            if path not in shapes:
                raise ValueError(f"initial weights of {name} hold {path!r}, which the configured model has not")
            if tuple(array.shape) != shapes[path]:
                raise ValueError(
                    f"initial weights of {name}: {path!r} is {tuple(array.shape)}, the configured model wants {shapes[path]}"
                )
        fresh[name] = sorted(set(shapes) - set(given))
        drawn = {}
        if fresh[name]:
            wanted = frozenset(fresh[name])

            def draw(k: Key[Array, ""], name: str = name, wanted: frozenset = wanted) -> dict[str, Array]:
                leaves = unboxed(init_component(stage, name, k))
                return {p: leaf for p, leaf in flax.traverse_util.flatten_dict(leaves, sep="/").items() if p in wanted}

            # The key depends on the component's name, so that adding a component does not redraw the others.
            seed = jax.random.fold_in(key, zlib.crc32(name.encode()))
            drawn = jax.jit(draw, out_shardings={path: flat[path] for path in fresh[name]})(seed)
        loaded = {path: jax.device_put(np.asarray(array, np.float32), flat[path]) for path, array in given.items()}
        variables[name] = flax.traverse_util.unflatten_dict(drawn | loaded, sep="/")
    return variables, shardings, fresh


def moment_shardings(moments: Any, shardings: Any, mesh: Mesh) -> Any:
    """Moments lie as their parameters do; counters are replicated."""
    flat = flax.traverse_util.flatten_dict(shardings)

    def find(path: tuple[Any, ...], _: Any) -> Any:
        names = tuple(entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey))
        return flat.get(names, replicated(mesh))

    return jax.tree_util.tree_map_with_path(find, moments)


def make_state(
    params: Params, shardings: Params, optimizers: Mapping[str, OptimizerConfig], mesh: Mesh, *, ema: bool
) -> tuple[TrainState, TrainState]:
    """A state at step 0 around trainable `params`, and its shardings as a tree of the same form."""
    transforms = {name: make_optimizer(optimizers[name]) for name in params}

    def begin(params: Params) -> TrainState:
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            moments={name: transforms[name].init(params[name]) for name in params},
            ema=jax.tree.map(jnp.copy, params) if ema else {},
        )

    abstract = jax.eval_shape(begin, params)
    state_shardings = TrainState(
        step=replicated(mesh),
        params=shardings,
        moments={name: moment_shardings(abstract.moments[name], shardings[name], mesh) for name in params},
        ema=shardings if ema else {},
    )
    return jax.jit(begin, out_shardings=state_shardings)(params), state_shardings


def init_run(
    stage: Stage,
    optimizers: Mapping[str, OptimizerConfig],
    key: Key[Array, ""],
    mesh: Mesh,
    *,
    ema: bool,
    initial: Mapping[str, dict[str, np.ndarray]] | None = None,
    half_precision: Sequence[str] = (),
) -> tuple[TrainState, TrainState, Params]:
    """(state, its shardings, frozen parameters) of a fresh run.

    Args:
      half_precision: components whose frozen float parameters are kept in bfloat16.
    """
    _check_components(stage, list(optimizers), "optimizers")
    _check_components(stage, half_precision, "half_precision")
    variables, shardings, _ = init_components(stage, key, mesh, initial or {})
    trainable, frozen = split_components(variables, optimizers)
    trainable_shardings, _ = split_components(shardings, optimizers)
    for name in half_precision:
        frozen[name] = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x, frozen[name])
    state, state_shardings = make_state(trainable, trainable_shardings, optimizers, mesh, ema=ema)
    return state, state_shardings, frozen


def all_params(trainable: Params, frozen: Params) -> Params:
    """What a stage's loss takes."""
    names = sorted(set(trainable) | set(frozen))
    return {name: join_trees(trainable.get(name, {}), frozen.get(name, {})) for name in names}


def count_params(tree: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def fingerprint(frozen: Params) -> dict[str, float]:
    """One number per frozen component, equal for equal weights (up to the order in which a mesh sums)."""

    @jax.jit
    def mean_size(tree: Any) -> Array:
        total = sum(jnp.sum(jnp.abs(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree))
        return total / jnp.float32(count_params(tree))

    return {name: float(mean_size(tree)) for name, tree in sorted(frozen.items()) if jax.tree.leaves(tree)}

"""The arrays of a run: what moves (`TrainState`) and what does not (frozen parameters), both born sharded.

Frozen parameters are an argument of the step beside the state: they have no gradient, no moments and no place in a
checkpoint.  A run finds them again where it found them first, and `fingerprint` notices if they have changed since.
"""

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from metis_jax.sharding import parameter_shardings, replicated, to_devices, unboxed
from metis_jax.training.optim import OptimizerConfig, join_trees, make_optimizer, split_trainable
from metis_jax.training.trainers.protocol import Params, Trainer, init_component
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


def _check_components(trainer: Trainer, names: Sequence[str], what: str) -> None:
    known = sorted(trainer.models())
    for name in names:
        if name not in known:
            raise ValueError(f"config.{what} names {name!r}; this trainer has {', '.join(known)}")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Shapes and shardings of everything a run holds, before any of it exists."""

    trainable: Params
    frozen: Params
    trainable_shardings: Params
    frozen_shardings: Params


def make_layout(trainer: Trainer, optimizers: Mapping[str, OptimizerConfig], mesh: Mesh) -> Layout:
    """How the variables of a trainer part into those that move and those that do not, and where they lie."""
    _check_components(trainer, list(optimizers), "optimizers")
    key = jax.random.key(0)
    boxed = {name: jax.eval_shape(lambda k, n=name: init_component(trainer, n, k), key) for name in trainer.models()}
    trainable, frozen = split_components(unboxed(boxed), optimizers)
    shardings = {name: parameter_shardings(tree, mesh) for name, tree in boxed.items()}
    return Layout(trainable, frozen, *split_components(shardings, optimizers))


def materialize(
    trainer: Trainer,
    key: Key[Array, ""],
    shapes: Params,
    shardings: Params,
    initial: Mapping[str, Mapping[str, np.ndarray]],
    half_precision: Sequence[str] = (),
) -> Params:
    """Arrays for the leaves of `shapes`: taken from `initial`, else drawn; no device ever holds more than its part.

    Args:
      initial: {component: {path joined by "/": array}}.  What it lacks, such as the adapters of a task, is drawn.
      half_precision: components whose parameters are kept in bfloat16.  Statistics stay: features would be others than
        those of inference, whose tokens a generator speaks.
    """
    result = {}
    for name, tree in shapes.items():
        wanted = flax.traverse_util.flatten_dict(tree, sep="/")
        places = flax.traverse_util.flatten_dict(shardings[name], sep="/")
        given = initial.get(name, {})
        missing = {path: places[path] for path in wanted if path not in given}
        # The key depends on the component's name, so that one more component does not redraw the others.
        seed = jax.random.fold_in(key, zlib.crc32(name.encode()))
        leaves = make_draw(trainer, name, missing)(seed) if missing else {}
        for path in wanted.keys() - missing.keys():
            leaves[path] = to_devices(np.asarray(given[path], wanted[path].dtype), places[path])
        if name in half_precision:
            for path, leaf in leaves.items():
                if path.startswith("params/") and leaf.dtype == jnp.float32:
                    leaves[path] = leaf.astype(jnp.bfloat16)
        result[name] = flax.traverse_util.unflatten_dict(leaves, sep="/")
    return result


def make_draw(
    trainer: Trainer, name: str, shardings: Mapping[str, jax.sharding.Sharding]
) -> Callable[[Key[Array, ""]], dict[str, Array]]:
    """(key) -> {path joined by "/": leaf} of a component's variables, of those that `shardings` places alone."""

    def draw(key: Key[Array, ""]) -> dict[str, Array]:
        leaves = flax.traverse_util.flatten_dict(unboxed(init_component(trainer, name, key)), sep="/")
        return {path: leaves[path] for path in shardings}

    return jax.jit(draw, out_shardings=dict(shardings))


def check_initial(layout: Layout, initial: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, int]:
    """{component: leaves that are left to be drawn}; ValueError where given weights do not fit the configured model."""
    missing = {}
    for name, given in initial.items():
        if name not in layout.trainable and name not in layout.frozen:
            known = ", ".join(sorted({*layout.trainable, *layout.frozen}))
            raise ValueError(f"config.initial names {name!r}; this trainer has {known}")
        shapes = {}
        for tree in (layout.trainable, layout.frozen):
            shapes |= flax.traverse_util.flatten_dict(tree.get(name, {}), sep="/")
        for path, array in given.items():
            if path not in shapes:
                raise ValueError(f"initial weights of {name} hold {path!r}, which the configured model has not")
            if tuple(array.shape) != shapes[path].shape:
                raise ValueError(
                    f"initial weights of {name}: {path!r} is {tuple(array.shape)}, "
                    f"the configured model wants {shapes[path].shape}"
                )
        missing[name] = len(shapes) - len(given)
    return missing


def moment_shardings(moments: Any, shardings: Any, mesh: Mesh) -> Any:
    """Moments lie as their parameters do; counters are replicated."""
    flat = flax.traverse_util.flatten_dict(shardings)

    def find(path: tuple[Any, ...], _: Any) -> Any:
        names = tuple(entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey))
        return flat.get(names, replicated(mesh))

    return jax.tree_util.tree_map_with_path(find, moments)


class StateMaker:
    """Makes the state of a run around its trainable parameters, or says what it would look like."""

    def __init__(self, layout: Layout, optimizers: Mapping[str, OptimizerConfig], mesh: Mesh, *, ema: bool):
        self._transforms = {name: make_optimizer(optimizers[name]) for name in layout.trainable}
        self._ema = ema
        self.shapes = jax.eval_shape(self._begin, layout.trainable)
        places = layout.trainable_shardings
        self.shardings = TrainState(
            step=replicated(mesh),
            params=places,
            moments={name: moment_shardings(self.shapes.moments[name], places[name], mesh) for name in places},
            ema=places if ema else {},
        )
        self._first = jax.jit(self._begin, out_shardings=self.shardings)

    def _begin(self, params: Params) -> TrainState:
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            moments={name: transform.init(params[name]) for name, transform in self._transforms.items()},
            ema=jax.tree.map(jnp.copy, params) if self._ema else {},
        )

    def begin(self, params: Params) -> TrainState:
        """The state at step 0."""
        return self._first(params)

    def target(self) -> TrainState:
        """Shapes with shardings: what a checkpoint is restored into."""

        def placed(leaf: Any, place: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

        return jax.tree.map(placed, self.shapes, self.shardings)


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

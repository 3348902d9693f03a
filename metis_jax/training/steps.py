"""One jitted training step for every stage, and its evaluating twin.

Several components with optimizers of their own (a codec and its discriminators) are updated from one loss and one
backward pass: a stage stops gradients where one side must not feel the other's objective.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metis_jax.training.optim import OptimizerConfig, learning_rate, make_optimizer
from metis_jax.training.stage import Batch, Metrics, Params, Stage
from metis_jax.training.state import TrainState, all_params
from metis_jax.types import Array, Float, Int, Key

TrainStep = Callable[[TrainState, Params, Batch, Key[Array, ""]], tuple[TrainState, Metrics]]


def _parts(batch: Batch, count: int) -> dict[str, Array]:
    """[b, …] to [count, b / count, …].  Part i takes rows i, i + count, …, so that each stays spread over the mesh."""
    return {name: x.reshape((x.shape[0] // count, count) + x.shape[1:]).swapaxes(0, 1) for name, x in batch.items()}


def _gradients(
    stage: Stage, params: Params, frozen: Params, batch: Batch, key: Key[Array, ""], accumulate: int
) -> tuple[Metrics, Params]:
    def loss(params: Params, batch: Batch, key: Key[Array, ""]) -> tuple[Float[Array, ""], Metrics]:
        value, metrics = stage.loss(all_params(params, frozen), batch, key, deterministic=False)
        return value, metrics | {"loss": value}

    differentiate = jax.grad(loss, has_aux=True)
    if accumulate == 1:
        gradients, metrics = differentiate(params, batch, key)
        return metrics, gradients

    def add(total: tuple[Params, Metrics], part: tuple[Array, Batch]) -> tuple[tuple[Params, Metrics], None]:
        index, rows = part
        result = differentiate(params, rows, jax.random.fold_in(key, index))
        return jax.tree.map(jnp.add, total, result), None

    parts = (jnp.arange(accumulate, dtype=jnp.int32), _parts(batch, accumulate))
    shapes = jax.eval_shape(differentiate, params, jax.tree.map(lambda x: x[0], parts[1]), key)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (gradients, metrics), _ = jax.lax.scan(add, zeros, parts)
    gradients, metrics = jax.tree.map(lambda x: x / jnp.asarray(accumulate, x.dtype), (gradients, metrics))
    return metrics, gradients


def make_train_step(
    stage: Stage,
    optimizers: Mapping[str, OptimizerConfig],
    state_shardings: TrainState | None,
    *,
    accumulate: int = 1,
    ema_decay: float = 0.0,
) -> TrainStep:
    """(state, frozen, batch, run key) -> (next state, scalars).  The state given is consumed.

    Randomness is the run's key folded with the step, so a resumed run draws what the run it continues would have drawn.
    """
    transforms = {name: make_optimizer(config) for name, config in optimizers.items()}
    rates = {name: learning_rate(config) for name, config in optimizers.items()}

    def step(state: TrainState, frozen: Params, batch: Batch, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        metrics, gradients = _gradients(stage, state.params, frozen, batch, key, accumulate)
        params, moments = {}, {}
        for name, transform in transforms.items():
            updates, moments[name] = transform.update(gradients[name], state.moments[name], state.params[name])
            params[name] = optax.apply_updates(state.params[name], updates)
            metrics[f"{name}/gradient_norm"] = optax.tree.norm(gradients[name])
            metrics[f"{name}/update_norm"] = optax.tree.norm(updates)
            metrics[f"{name}/param_norm"] = optax.tree.norm(params[name])
            metrics[f"{name}/learning_rate"] = rates[name](state.step)
        ema = state.ema
        if ema_decay:
            # A young average forgets its random start quickly.
            count = state.step.astype(jnp.float32)
            decay = jnp.minimum(jnp.float32(ema_decay), (1 + count) / (10 + count))
            ema = jax.tree.map(lambda slow, new: slow + (1 - decay) * (new - slow), ema, params)
        return TrainState(step=state.step + 1, params=params, moments=moments, ema=ema), metrics

    shardings: dict[str, Any] = {} if state_shardings is None else {"out_shardings": (state_shardings, None)}
    return jax.jit(step, donate_argnums=0, **shardings)


def make_eval_step(stage: Stage) -> Callable[[Params, Params, Batch, Int[Array, ""]], Metrics]:
    """(params or their average, frozen, batch, its number) -> scalars.  A batch has the same masks every time."""

    @jax.jit
    def evaluate(params: Params, frozen: Params, batch: Batch, number: Int[Array, ""]) -> Metrics:
        key = jax.random.fold_in(jax.random.key(0), number)
        value, metrics = stage.loss(all_params(params, frozen), batch, key, deterministic=True)
        return metrics | {"loss": value}

    return evaluate

"""One jitted training step for every trainer, and its evaluating twin.

Several components with optimizers of their own (a codec and its discriminators) are updated from one loss and one
backward pass: a trainer stops gradients where one side must not feel the other's objective.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metis_jax.training.optim import OptimizerConfig, learning_rate, make_optimizer
from metis_jax.training.state import TrainState, all_params
from metis_jax.training.trainers.protocol import Batch, Loss, Metrics, Params, Trainer
from metis_jax.types import Array, Float, Int, Key

TrainStep = Callable[[TrainState, Params, Batch, Key[Array, ""]], tuple[TrainState, Metrics]]


def _parts(batch: Batch, count: int) -> dict[str, Array]:
    """[b, …] to [count, b / count, …].  Part i takes rows i, i + count, …, so that each stays spread over the mesh."""
    return {name: x.reshape((x.shape[0] // count, count) + x.shape[1:]).swapaxes(0, 1) for name, x in batch.items()}


def mean_gradients(
    trainer: Trainer, params: Params, frozen: Params, batch: Batch, key: Key[Array, ""], accumulate: int
) -> tuple[Params, Metrics]:
    """The gradient of the mean over the whole batch, and its scalars; parts weigh by what their losses are means of."""

    def mean(params: Params, batch: Batch, key: Key[Array, ""]) -> tuple[Float[Array, ""], Loss]:
        loss = trainer.loss(all_params(params, frozen), batch, key, deterministic=False)
        return loss.mean, loss

    differentiate = jax.grad(mean, has_aux=True)
    if accumulate == 1:
        gradients, loss = differentiate(params, batch, key)
        return gradients, loss.scalars

    def weighed(index: Array, rows: Batch) -> tuple[Array, tuple[Params, Metrics]]:
        gradients, loss = differentiate(params, rows, jax.random.fold_in(key, index))
        return loss.count, jax.tree.map(lambda x: loss.count * x, (gradients, loss.scalars))

    parts = (jnp.arange(accumulate, dtype=jnp.int32), _parts(batch, accumulate))
    shapes = jax.eval_shape(weighed, *jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (count, sums), _ = jax.lax.scan(
        lambda total, part: (jax.tree.map(jnp.add, total, weighed(*part)), None), zeros, parts
    )
    return jax.tree.map(lambda x: x / jnp.maximum(count, jnp.float32(1)), sums)


def make_train_step(
    trainer: Trainer,
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
        gradients, metrics = mean_gradients(trainer, state.params, frozen, batch, key, accumulate)
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


def make_eval_step(trainer: Trainer) -> Callable[[Params, Params, Batch, Int[Array, ""]], Loss]:
    """(params or their average, frozen, batch, its number) -> loss.  A batch has the same masks every time."""

    @jax.jit
    def evaluate(params: Params, frozen: Params, batch: Batch, number: Int[Array, ""]) -> Loss:
        key = jax.random.fold_in(jax.random.key(0), number)
        return trainer.loss(all_params(params, frozen), batch, key, deterministic=True)

    return evaluate

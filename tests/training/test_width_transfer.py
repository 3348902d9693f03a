"""A learning rate carried from width to width: a few steps change hidden states by as much at each of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import mini

from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.ops.lengths import full_lengths
from metis_jax.sharding import MeshConfig, activate, feed, make_mesh
from metis_jax.training.optim import OptimizerConfig
from metis_jax.training.state import StateMaker, make_layout, materialize
from metis_jax.training.steps import make_train_step
from metis_jax.training.trainers.semantic_generator import SemanticGeneratorTrainer

WIDTHS = (32, 256)
STEPS = 4


def change(width: int, matrix_rate: float) -> float:
    """Root mean square of what a few steps change in the hidden states of a generator."""
    config = dataclasses.replace(mini.SEMANTIC, width=width, mlp_width=4 * width, num_layers=2, num_heads=width // 16)
    trainer = SemanticGeneratorTrainer(generator=config)
    rate = OptimizerConfig(
        learning_rate=2e-3, schedule="constant", warmup_steps=1, weight_decay=0.0, matrix_rate=matrix_rate
    )
    optimizers, mesh = {"semantic_generator": rate}, make_mesh(MeshConfig(), jax.devices()[:1])
    batch = mini.batch_for("pretrain")
    with activate(mesh):
        layout = make_layout(trainer, optimizers, mesh)
        maker = StateMaker(layout, optimizers, mesh, ema=False)
        start = materialize(trainer, jax.random.key(0), layout.trainable, layout.trainable_shardings, {})
        state = maker.begin(start)
        step = make_train_step(trainer, optimizers, maker.shardings)
        seen = jax.jit(lambda params: hidden_states(trainer, params, batch))
        before = jax.device_get(seen(state.params))
        fed = feed(batch, mesh)
        for number in range(STEPS):
            state, _ = step(state, {}, fed, jax.random.key(number))
        after = jax.device_get(seen(state.params))
    return float(np.sqrt(np.mean((after - before) ** 2)))


def hidden_states(trainer, params, batch):
    tokens = jnp.asarray(batch["tokens"])
    lengths = full_lengths(*tokens.shape)
    model, time = SemanticGenerator(trainer.generator), jnp.full(len(tokens), 0.5)
    return model.apply(params["semantic_generator"], tokens, tokens % 3 == 0, time, lengths=lengths)


@pytest.mark.slow
def test_hidden_states_change_by_as_much_at_every_width():
    small, large = WIDTHS
    known = change(small, 1.0)
    carried, plain = (change(large, rate) for rate in (small / large, 1.0))
    assert 0.7 < carried / known < 1.4
    assert plain > 1.5 * carried

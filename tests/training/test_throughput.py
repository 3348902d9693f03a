"""FLOPs are counted as a person would."""

import jax
import jax.numpy as jnp
import numpy as np
from training import mini

from metis_jax.layers.splash import splash_attention
from metis_jax.sharding import MeshConfig, activate, make_mesh
from metis_jax.training.state import make_layout
from metis_jax.training.throughput import count_flops, step_flops, valid_share


def test_products_convolutions_and_loops():
    x, y = jnp.ones((3, 4)), jnp.ones((4, 5))
    assert count_flops(jnp.matmul, x, y) == 2 * 3 * 4 * 5

    def looped(x):
        return jax.lax.scan(lambda carry, _: (carry @ jnp.ones((4, 4)), None), x, length=7)[0]

    assert count_flops(jax.jit(looped), x) == 7 * 2 * 3 * 4 * 4

    def convolved(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1,), ((0, 0),), dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=2
        )

    # 8 outputs in time, 6 channels, each from a window of 3 over 4 / 2 inputs.
    assert count_flops(convolved, jnp.ones((1, 10, 4)), jnp.ones((3, 2, 6))) == 2 * 8 * 6 * 3 * 2


def test_kernels_count_for_every_block_and_device():
    q = jnp.ones((2, 1280, 2, 16))  # two blocks of queries, and two of keys
    lengths = jnp.full((2,), 1280, jnp.int32)

    def attend(q, lengths):
        return splash_attention(q, q, q, lengths, interpret=True)

    products = 2 * (2 * 2) * 2 * 1280 * 1280 * 16  # of queries with keys, and of weights with values
    assert count_flops(attend, q, lengths) == products
    with activate(make_mesh(MeshConfig(), jax.devices()[:2])):
        assert count_flops(attend, q, lengths) == products


def test_a_step_is_about_three_forward_passes():
    trainer, optimizers = mini.trainer_and_optimizers("pretrain")
    layout = make_layout(trainer, optimizers, make_mesh(MeshConfig(), jax.devices()[:1]))
    batch = {name: jnp.asarray(x) for name, x in mini.batch_for("pretrain").items()}
    forward = count_flops(
        lambda params: trainer.loss(params, batch, jax.random.key(0), deterministic=True).mean, layout.trainable
    )
    assert 2.5 * forward < step_flops(trainer, layout.trainable, layout.frozen, batch) < 3.1 * forward


def test_padding_is_no_work():
    lengths = np.array([24, 12], np.int32)
    assert valid_share({"lengths": lengths, "tokens": np.zeros((2, 24), np.int32)}) == 0.75
    wave, wave_lengths = np.zeros((2, 960), np.float32), np.array([960, 240], np.int32)
    assert valid_share({"lengths": lengths, "wave": wave, "wave_lengths": wave_lengths}) == 0.625
    assert valid_share({"lengths": lengths, "target": np.zeros((2, 320 * 24 + 240), np.float32)}) == 0.75
    for name in mini.TRAINERS:
        assert 0.8 < valid_share(mini.batch_for(name)) < 1

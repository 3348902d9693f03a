import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.config import TransformerConfig
from metis_jax.layers.masked_transformer import MaskedTransformer, Sequences
from metis_jax.layers.stack import keep_layers, stack_params, unstack_params
from metis_jax.types import Policy

CONFIG = TransformerConfig(width=16, num_layers=3, num_heads=2, mlp_width=32)
X = jax.random.normal(jax.random.key(0), (2, 5, 16))
TIME = jnp.array([0.3, 0.9])
INPUT = Sequences.one(X, jnp.array([5, 3], jnp.int32))


def model(config=CONFIG, **policy):
    return MaskedTransformer(config, Policy(**policy))


@functools.partial(jax.jit, static_argnums=1)
def run(params, module):
    return module.apply({"params": params}, INPUT, TIME, deterministic=True)


@functools.cache
def scanned_params():
    init = jax.jit(lambda key: nn.unbox(model().init(key, INPUT, TIME, deterministic=True)))
    return init(jax.random.key(1))["params"]


def test_scanned_equals_unrolled_and_layouts_convert_both_ways():
    params = scanned_params()
    unrolled = unstack_params(params)
    assert set(unrolled) >= {"layers_0", "layers_1", "layers_2"}
    np.testing.assert_allclose(run(params, model()), run(unrolled, model(scan=False)), atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, stack_params(unrolled), params)


def test_remat_changes_neither_outputs_nor_gradients():
    params = scanned_params()

    def gradient(**policy):
        return jax.jit(jax.grad(lambda p: jnp.sum(jnp.square(run(p, model(**policy))))))(params)

    plain = gradient()
    for remat in ("full", "dots"):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), plain, gradient(remat=remat))


def test_fewer_layers_are_the_first_ones():
    params = scanned_params()
    short = dataclasses.replace(CONFIG, num_layers=2)
    unrolled = unstack_params(params)
    del unrolled["layers_2"]
    np.testing.assert_allclose(
        run(keep_layers(params, 2), model(short)), run(unrolled, model(short, scan=False)), atol=1e-6
    )


def test_sequences_in_one_row_do_not_see_each_other():
    params = scanned_params()
    other = Sequences.one(-2 * X[:, :4], jnp.array([2, 4], jnp.int32))

    def hidden(sequences):
        return jax.jit(lambda: model().apply({"params": params}, sequences, TIME, deterministic=True))()

    both = hidden(INPUT.before(other))
    for alone, found in ((INPUT, both[:, :5]), (other, both[:, 5:])):
        expected = hidden(alone)
        for row, length in enumerate(alone.lengths[:, 0]):
            np.testing.assert_allclose(found[row, :length], expected[row, :length], atol=1e-6)

"""Discriminators of waves: shapes, padding, gradients."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.config import SIZES, DiscriminatorConfig
from metis_jax.models.discriminators import Discriminators, normalized_wave

CONFIG = SIZES["tiny"][DiscriminatorConfig]
SAMPLES = 1000


@pytest.fixture(scope="module")
def variables():
    wave, lengths = jnp.zeros((1, SAMPLES)), jnp.array([SAMPLES], jnp.int32)
    return jax.jit(lambda: nn.unbox(Discriminators(CONFIG).init(jax.random.key(0), wave, lengths)))()


@jax.jit
def maps_of(variables, wave, lengths):
    return Discriminators(CONFIG).apply(variables, wave, lengths)


def test_every_network_returns_its_feature_maps_and_scores(variables):
    wave = jax.random.normal(jax.random.key(1), (2, SAMPLES))
    maps = maps_of(variables, wave, jnp.array([SAMPLES, 700], jnp.int32))
    assert len(maps) == len(CONFIG.periods) + len(CONFIG.window_lengths)
    for period, network in zip(CONFIG.periods, maps, strict=False):
        assert len(network) == len(CONFIG.period_channels) + 1
        assert {values.shape[0] for values, _ in network} == {2 * period}
        first, lengths = network[0]
        frames, short = (math.ceil(math.ceil(samples / period) / 3) for samples in (SAMPLES, 700))
        assert first.shape[1:] == (frames, CONFIG.period_channels[0])
        assert lengths.tolist() == [frames] * period + [short] * period
        assert network[-1][0].shape[-1] == 1
    spectra = maps[-1]
    hop = CONFIG.window_lengths[0] // 4
    assert len(spectra) == 5 * len(CONFIG.bands) + 1
    assert {values.shape[1] for values, _ in spectra} == {math.ceil(SAMPLES / hop)}
    assert spectra[0][1].tolist() == [math.ceil(SAMPLES / hop), math.ceil(700 / hop)]
    assert all(np.isfinite(values).all() for network in maps for values, _ in network)


def test_published_size():
    wave, lengths = jnp.zeros((1, 24000)), jnp.array([24000], jnp.int32)
    networks = jax.eval_shape(
        lambda: nn.unbox(Discriminators(DiscriminatorConfig()).init(jax.random.key(0), wave, lengths))
    )
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in networks["params"].items()}

    def weight_normed(width, inputs, outputs):
        return width * inputs * outputs + 2 * outputs

    channels = (1, 32, 128, 512, 1024, 1024)
    period = sum(weight_normed(5, *pair) for pair in zip(channels, channels[1:], strict=False)) + weight_normed(
        3, 1024, 1
    )
    band = weight_normed(27, 2, 32) + 3 * weight_normed(27, 32, 32) + weight_normed(9, 32, 32)
    spectrum = 5 * band + weight_normed(9, 32, 1)
    expected = {f"period_{p}": period for p in (2, 3, 5, 7, 11)} | {
        f"spectrum_{w}": spectrum for w in (2048, 1024, 512)
    }
    assert sizes == expected


@pytest.mark.parametrize("length", [300, 701])
def test_padding_and_neighbours_change_nothing(variables, length):
    draw = np.random.default_rng(length)
    wave, other = draw.normal(size=(2, 2, SAMPLES)).astype(np.float32)
    other[0, :length] = wave[0, :length]
    first = maps_of(variables, jnp.asarray(wave), jnp.array([length, SAMPLES], jnp.int32))
    second = maps_of(variables, jnp.asarray(other), jnp.array([length, 500], jnp.int32))
    alone = maps_of(variables, jnp.asarray(wave[:1, :length]), jnp.array([length], jnp.int32))
    for networks in zip(first, second, alone, strict=True):
        for (x, lengths), (y, _), (z, _) in zip(*networks, strict=True):
            rows, t = x.shape[0] // 2, int(lengths[0])
            np.testing.assert_allclose(x[:rows, :t], y[:rows, :t], atol=1e-5)
            np.testing.assert_allclose(x[:rows, :t], z[:, :t], atol=1e-5)


def test_scores_have_a_gradient_to_every_parameter_and_to_the_wave(variables):
    wave = jax.random.normal(jax.random.key(1), (1, SAMPLES))

    def total(variables, wave):
        maps = Discriminators(CONFIG).apply(variables, wave, jnp.array([SAMPLES], jnp.int32))
        return sum(jnp.mean(jnp.square(network[-1][0] - 1)) for network in maps)

    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(variables, wave)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


def test_waves_are_centred_and_scaled_over_their_valid_samples():
    wave = jnp.array([[1.0, 3.0, 100.0], [0.0, 0.0, 0.0]])
    actual = normalized_wave(wave, jnp.array([2, 3], jnp.int32))
    np.testing.assert_allclose(actual, [[-0.8, 0.8, 0], [0, 0, 0]], atol=1e-6)

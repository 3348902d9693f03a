"""The source-filter decoder: sound at the pitch that it is given, the same whatever stands beside it in a batch."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.config import AcousticCodecConfig
from metis_jax.convert.acoustic_codec import rules
from metis_jax.models import source_filter
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.models.source_filter import FILTERS_PER_FRAME, SourceFilterDecoder
from metis_jax.ops.pitch import Pitch, track_pitch
from metis_jax.types import Policy
from metis_jax.weights.tensor_files import WeightsError

CONFIG = AcousticCodecConfig(
    encoder="spectrum", encoder_width=8, encoder_layers=1, latent_width=8, num_levels=2, codebook_size=16, code_width=4,
    decoder="source_filter", decoder_width=16, decoder_mlp_width=32, decoder_layers=1, n_fft=480,
)  # fmt: skip
DECODER = SourceFilterDecoder(CONFIG, Policy())
T = 30
N, HOP = FILTERS_PER_FRAME * T, 480 // FILTERS_PER_FRAME
render = jax.jit(lambda *inputs: DECODER.apply({}, *inputs, method="render"))


@jax.jit
def track(wave):
    return track_pitch(wave, 24_000, HOP)


@pytest.fixture(scope="module")
def latents():
    return jnp.asarray(np.random.default_rng(0).normal(size=(1, T, 8)), jnp.float32)


@pytest.fixture(scope="module")
def variables(latents):
    return jax.jit(lambda: nn.unbox(DECODER.init(jax.random.key(0), latents, jnp.array([T]))))()


@pytest.fixture(scope="module")
def controls(variables, latents):
    return jax.jit(lambda: DECODER.apply(variables, latents, jnp.array([T]), method="controls"))()


@pytest.mark.parametrize("hertz", [90.0, 240.0])
def test_it_speaks_at_the_pitch_it_is_given(controls, hertz):
    voiced = controls._replace(harmonics=controls.harmonics + 2)
    wave = render(voiced, jnp.full((1, N), hertz), jnp.array([T]))
    assert wave.shape == (1, T * 480)
    heard = track(wave)
    np.testing.assert_allclose(np.median(heard.hertz), hertz, rtol=0.02)
    assert np.median(heard.strength) > 0.8


def test_without_harmonics_it_whispers(controls):
    wave = render(controls._replace(harmonics=controls.harmonics - 8), jnp.full((1, N), 120.0), jnp.array([T]))
    assert np.median(track(wave).strength) < 0.5
    # A gain is one of amplitude: noise of unit power through -5.
    assert np.log(np.std(wave)) == pytest.approx(-5, abs=0.2)


def test_padding_changes_nothing(variables, latents):
    apply = jax.jit(lambda x, n: DECODER.apply(variables, x, n))
    alone = apply(latents, jnp.array([T]))
    beside = jnp.concatenate([jnp.pad(latents, ((0, 0), (0, 20), (0, 0)), constant_values=3.0), jnp.ones((1, 50, 8))])
    found = apply(beside, jnp.array([T, 50]))
    # Pulses are steep: rounding moves them by less than a thousandth of a sample.
    np.testing.assert_allclose(found[:1, : T * 480], alone, atol=5e-4)
    assert np.std(alone) > 1e-2


def test_its_pitch_glides_where_one_filter_errs():
    pitch = np.full((2, 60), np.log(120.0), np.float32)
    pitch[0, 20] += 0.7
    pitch[1, 40:] = 100.0  # padding
    found = np.asarray(source_filter._smoothed(jnp.asarray(pitch), jnp.array([60, 40])))
    np.testing.assert_allclose(found[1, :40], np.log(120.0), rtol=1e-5)
    moved = found[0] - np.log(120.0)
    np.testing.assert_allclose(moved[12:29], 0.7 / 17, atol=1e-5)
    np.testing.assert_allclose(np.delete(moved, np.s_[12:29]), 0, atol=1e-5)


def test_a_pitch_far_from_its_own_or_of_no_voice_is_not_followed(latents):
    codec = AcousticCodec(CONFIG)
    inputs = jnp.zeros((1, 960)), jnp.array([960])
    variables = jax.jit(lambda: nn.unbox(codec.init(jax.random.key(0), *inputs)))()

    @jax.jit
    def wave(hertz, strength):
        heard = Pitch(jnp.full((1, N), hertz), jnp.full((1, N), strength))
        return codec.apply(variables, latents, jnp.array([T]), heard, method="decode_at_pitch")[0]

    own = jax.jit(lambda: codec.apply(variables, latents, jnp.array([T]), method="decode"))()
    np.testing.assert_allclose(wave(450.0, 1.0), own, atol=1e-6)
    np.testing.assert_allclose(wave(150.0, 0.1), own, atol=1e-6)
    assert np.max(np.abs(wave(150.0, 1.0) - own)) > 1e-3


def test_every_parameter_of_the_filters_gets_a_gradient(variables, latents):
    def loss(variables):
        controls = DECODER.apply(variables, latents, jnp.array([T]), method="controls")
        wave = DECODER.apply({}, controls, jnp.exp(controls.log_pitch), jnp.array([T]), method="render")
        return jnp.sum(jnp.square(wave)) + jnp.sum(controls.log_pitch)

    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables)):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


def test_decoders_that_can_not_be_are_refused():
    with pytest.raises(ValueError, match="decoder is 'gan'"):
        dataclasses.replace(CONFIG, decoder="gan")
    with pytest.raises(ValueError, match="strides multiply to 30; .*'source_filter' need a multiple of 4"):
        AcousticCodecConfig(decoder="source_filter", strides=(5, 6))
    with pytest.raises(WeightsError, match="decoder 'source_filter'"):
        rules(AcousticCodecConfig(decoder="source_filter"))

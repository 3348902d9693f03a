"""SSL features of waves: each encoder hears its own log-mel frames, and padding changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.clock import ssl_frames
from metis_jax.config import SIZES, SslEncoderConfig, WhisperEncoderConfig
from metis_jax.models.ssl_features import make_ssl_encoder, wave_features
from metis_jax.sections import from_config_dict, to_dict
from metis_jax.training.trainers.semantic_generator import SemanticGeneratorTrainer


@pytest.mark.parametrize("cls", [SslEncoderConfig, WhisperEncoderConfig])
def test_waves_become_fifty_frames_a_second(cls):
    config = SIZES["tiny"][cls]
    encoder = make_ssl_encoder(config)
    inputs = jnp.zeros((1, 2, config.input_width)), jnp.ones((1,), jnp.int32)
    variables = jax.jit(functools.partial(encoder.init, method="features"))(jax.random.key(0), *inputs)
    statistics = {"mean": jnp.full(config.feature_width, 0.5), "variance": jnp.full(config.feature_width, 4.0)}
    waves = [0.1 * np.random.default_rng(n).standard_normal(n).astype(np.float32) for n in (5200, 4000)]
    together = np.zeros((2, 6000), np.float32)
    for row, wave in zip(together, waves, strict=True):
        row[: len(wave)] = wave
    forward = jax.jit(lambda variables, wave, samples: wave_features(encoder, variables, wave, samples))
    plain = forward(variables, together, jnp.array([5200, 4000]))
    assert plain.shape[1] >= ssl_frames(5200) and plain.shape[2] == config.feature_width
    normalised = forward(variables | {"statistics": statistics}, together, jnp.array([5200, 4000]))
    np.testing.assert_allclose(normalised, (plain - 0.5) / 2, atol=1e-5)
    for row, wave in enumerate(waves):
        # Beside itself: a program for one row would have to be compiled.
        beside = forward(variables, together[[row, row]], jnp.full(2, len(wave)))
        count = ssl_frames(len(wave))
        np.testing.assert_allclose(plain[row, :count], beside[row, :count], atol=1e-4)


def test_a_section_is_of_the_encoder_that_has_its_fields():
    for config in (SslEncoderConfig(), WhisperEncoderConfig()):
        section = {"generator": {}, "ssl_encoder": to_dict(config)}
        assert from_config_dict(SemanticGeneratorTrainer, section).ssl_encoder == config
    with pytest.raises(ValueError, match="ssl_encoder has no field 'depth'"):
        from_config_dict(SemanticGeneratorTrainer, {"generator": {}, "ssl_encoder": {"depth": 2}})

"""The small model's SSL encoder: the first layers of a Whisper folder, with the statistics of features on a corpus."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from safetensors.numpy import save_file

from metis_jax.config import WhisperEncoderConfig
from metis_jax.convert.whisper_encoder import RULES
from metis_jax.data.batches.pipeline import Pipeline, PipelineConfig
from metis_jax.data.corpus.synthetic import write_synthetic_shards
from metis_jax.models.ssl_features import make_ssl_encoder, wave_features
from metis_jax.weights.bundle import UNUSED, Bundle, stored_shapes
from nano import ssl_encoder

CONFIG = WhisperEncoderConfig(mel_bins=8, width=64, num_layers=3, hidden_layer=2, num_heads=1, mlp_width=32)


@pytest.mark.slow
def test_features_of_the_corpus_have_mean_zero_and_variance_one(tmp_path):
    shapes = {path: shape for path, shape in stored_shapes(CONFIG).items() if not path.startswith("statistics")}
    shapes |= {f"{UNUSED}/final_norm/{name}": (CONFIG.width,) for name in ("scale", "bias")}
    shapes[f"{UNUSED}/positions"] = (10, CONFIG.width)
    (tmp_path / "whisper").mkdir()
    drawn = recipe.state_dict(recipe.official_shapes(RULES, shapes))
    save_file(drawn, tmp_path / "whisper" / "model.safetensors")
    write_synthetic_shards(tmp_path / "shards", 48, 0)
    places = [f"--{name}={tmp_path / name}" for name in ("whisper", "shards")]

    ssl_encoder.main([*places, f"--output={tmp_path / 'bundle'}", "--layers=1", "--batches=2"])

    config, variables = Bundle(tmp_path / "bundle").load("ssl_encoder")
    assert config == dataclasses.replace(CONFIG, num_layers=1, hidden_layer=1)
    shards = PipelineConfig(stage="semantic_codec", shards=str(tmp_path / "shards"), rows=16, buckets=(250,))
    features, variables = [], jax.tree.map(jnp.asarray, variables)
    for number in range(2):
        batch = Pipeline(shards)[number]
        found = wave_features(
            make_ssl_encoder(config), variables, *map(jnp.asarray, (batch["wave"], batch["wave_lengths"]))
        )
        features += [np.asarray(row)[:n] for row, n in zip(found, batch["lengths"], strict=True)]
    features = np.concatenate(features)
    # The script leaves out what may not be shipped, which synthetic records all may.
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=0.02)

"""Waves to hidden states against transformers' own extractor and model, on real speech.  Needs the torch extra."""

import dataclasses
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from metis_jax.config import SIZES, SslEncoderConfig
from metis_jax.convert.rules import to_variables
from metis_jax.convert.ssl_encoder import RULES
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.ops.mel import emitted_lengths, log_mel

pytestmark = pytest.mark.torch

CORPUS = Path(os.environ.get("METIS_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
CONFIG = dataclasses.replace(SIZES["tiny"][SslEncoderConfig], hidden_layer=4)


@pytest.fixture(scope="module")
def waves():
    """Four utterances at 16 kHz, of even and of odd counts of log-mel frames."""
    paths = sorted((CORPUS / "speech").rglob("*.flac")) if CORPUS.is_dir() else []
    if not paths:
        pytest.skip(f"no speech under {CORPUS}; set METIS_CORPUS to the corpus")
    found = []
    for path in paths:
        info = soundfile.info(path)
        parity = (info.frames - 240) // 160 % 2
        wanted = sum(parity == (len(wave) - 240) // 160 % 2 for wave in found) < 2
        if info.samplerate == 16000 and 1 < info.duration < 6 and wanted:
            found.append(soundfile.read(path, dtype="float32", always_2d=True)[0][:, 0])
        if len(found) == 4:
            break
    return found


def pad(waves):
    batch = np.zeros((len(waves), max(map(len, waves)) + 777), np.float32)
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = wave
    return jnp.asarray(batch), jnp.array([len(wave) for wave in waves], jnp.int32)


def relative_error(a, b):
    return np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)


def extract(waves):
    transformers = pytest.importorskip("transformers", reason="needs the torch extra")
    extractor = transformers.SeamlessM4TFeatureExtractor(
        feature_size=80, num_mel_bins=80, padding_value=1.0, sampling_rate=16000, stride=2
    )
    return [extractor(wave, sampling_rate=16000, return_tensors="pt") for wave in waves]


def test_log_mel_of_speech(waves):
    features, lengths = log_mel(*pad(waves))
    for row, expected in enumerate(extract(waves)):
        reference = expected["input_features"][0].numpy()
        assert int(lengths[row]) == int(expected["attention_mask"].sum())
        assert relative_error(features[row, : len(reference)], reference) < 1e-5


def test_hidden_states_of_speech(waves):
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    transformers = pytest.importorskip("transformers", reason="needs the torch extra")
    torch.manual_seed(0)
    theirs = transformers.Wav2Vec2BertModel(
        transformers.Wav2Vec2BertConfig(
            hidden_size=CONFIG.width,
            num_hidden_layers=CONFIG.num_layers,
            num_attention_heads=CONFIG.num_heads,
            intermediate_size=CONFIG.mlp_width,
            attn_implementation="eager",
        )
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        expected = [theirs(**one, output_hidden_states=True).hidden_states[-1][0].numpy() for one in extract(waves)]
    params = to_variables(RULES, {name: value.numpy() for name, value in theirs.state_dict().items()})["params"]
    statistics = {"mean": jnp.zeros(CONFIG.width), "variance": jnp.ones(CONFIG.width)}

    @jax.jit
    def run(wave, samples):
        features, lengths = log_mel(wave, samples)
        variables = {"params": params, "statistics": statistics}
        return SslEncoder(CONFIG).apply(variables, features, lengths, deterministic=True)

    batch, samples = pad(waves)
    hidden = run(batch, samples)
    emitted = emitted_lengths(samples)
    for row, reference in enumerate(expected):
        assert int(emitted[row]) == len(reference)
        assert relative_error(hidden[row, : len(reference)], reference) < 1e-4

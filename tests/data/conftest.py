"""A small synthetic corpus: voices of harmonics under a syllable envelope, noise clips and room responses."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
from synthetic_voice import voice

from metis_jax.clock import ssl_frames
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.prepare import PrepareConfig, prepare

SPEAKERS, UTTERANCES = 10, 4


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    rng = np.random.default_rng(0)
    for speaker in range(SPEAKERS):
        for utterance in range(UTTERANCES):
            wave = voice(100 * speaker + utterance, rng.uniform(1.2, 3.5))
            suffix = ("flac", "wav", "ogg")[utterance % 3]
            path = folder / f"s{speaker}_{utterance}.{suffix}"
            soundfile.write(path, wave, 16_000)
            rows.append(
                {
                    "path": path.name,
                    "speaker": f"s{speaker}",
                    "text": f"utterance {utterance}",
                    "language": "en",
                    "license": "CC BY-SA 3.0" if speaker == 0 else "CC BY 4.0",
                    "source": "Telephone prompts" if speaker < 2 else "Books, read aloud",
                    "sample_rate": 16_000,
                    "seconds": len(wave) / 16_000,
                    "heldout": False,
                }
            )
    for index in range(3):
        soundfile.write(folder / f"noise{index}.flac", 0.1 * rng.standard_normal(24_000), 24_000)
        rows.append({"path": f"noise{index}.flac", "kind": "noise", "license": "CC0"})
    response = rng.standard_normal(4_000) * np.exp(-np.arange(4_000) / 800) * 0.1
    response[20] = 0.9
    soundfile.write(folder / "room.flac", response, 16_000)
    rows.append({"path": "room.flac", "kind": "rir", "license": "CC0"})
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def audio_shards(manifest, tmp_path_factory):
    """Shards as `prepare` writes them."""
    output = tmp_path_factory.mktemp("shards") / "audio"
    prepare(manifest, output, PrepareConfig(shard_records=16))
    return output


@pytest.fixture(scope="session")
def token_shards(audio_shards, tmp_path_factory):
    """The same with random tokens, phones and visual features of the right lengths."""
    output = tmp_path_factory.mktemp("tokens")
    rng = np.random.default_rng(1)
    for path in shards.find_shards([audio_shards]):
        records = []
        for record in shards.read_shard(path):
            frames = ssl_frames(record.samples * 16_000 // record.sample_rate)
            arrays = {
                "ssl_tokens": rng.integers(0, 8192, frames).astype(np.uint16),
                "acoustic_tokens": rng.integers(0, 1024, (frames + 1, 12)).astype(np.uint16),
                "degraded_acoustic_tokens": rng.integers(0, 1024, (frames + 1, 12)).astype(np.uint16),
                "phones": rng.integers(1, 1024, 12).astype(np.int32),
                "phone_bounds": np.linspace(0.1, frames / 50, 13).astype(np.float32),
                "mouth_crops": rng.integers(0, 256, (-(-frames // 2), 20, 20)).astype(np.uint8),
                "visual_features": rng.standard_normal((-(-frames // 2), 8)).astype(np.float16),
            }
            records.append(dataclasses.replace(record, arrays=arrays if record.kind == "speech" else {}))
        shards.write_shard(output / path.name, records)
    return output

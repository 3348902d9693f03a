"""The small model's SSL encoder: the first layers of Whisper's encoder, with the statistics of their features.

    python nano/ssl_encoder.py --whisper=FOLDER --shards=SHARDS --output=BUNDLE

Mean and variance are those of clean speech, over the records of the first batches that training would see.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metis_jax.cli.command import exit_status
from metis_jax.convert.whisper import COMPONENT, convert_whisper
from metis_jax.data.batches.pipeline import Pipeline, PipelineConfig
from metis_jax.models.ssl_features import make_ssl_encoder, wave_features
from metis_jax.ops.lengths import valid_mask
from metis_jax.weights.bundle_writer import write_bundle
from nano.configs.common import SPEECH

BATCHES = 60


def statistics_of(config, variables, pipeline: Pipeline, batches: int) -> dict[str, np.ndarray]:
    """Mean and variance of every channel of the features, over the valid frames of the first batches."""
    encoder = make_ssl_encoder(config)

    @jax.jit
    def sums(variables, wave, samples, lengths):
        features = wave_features(encoder, variables, wave, samples)
        features = jnp.where(valid_mask(lengths, features.shape[1])[:, :, None], features, jnp.float32(0))
        return jnp.sum(features, axis=(0, 1)), jnp.sum(jnp.square(features), axis=(0, 1))

    count, total, squares = 0, np.zeros(config.width), np.zeros(config.width)
    for number in range(batches):
        batch = pipeline[number]
        one, two = jax.device_get(sums(variables, batch["wave"], batch["wave_lengths"], batch["lengths"]))
        count, total, squares = count + int(batch["lengths"].sum()), total + one, squares + two
        print(f"batch {number + 1} of {batches}", end="\r", flush=True)
    mean = total / count
    variance = squares / count - mean**2
    return {"mean": mean.astype(np.float32), "variance": variance.astype(np.float32)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--whisper", type=Path, required=True, help="folder of a Whisper model")
    parser.add_argument("--shards", action="append", required=True, help="speech, as data/prepare.py makes it")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=0, help="how many are kept; by default all but the last")
    parser.add_argument("--batches", type=int, default=BATCHES)
    flags = parser.parse_args(arguments)
    return exit_status("ssl_encoder", lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    data = PipelineConfig(
        stage="semantic_codec", shards=tuple(flags.shards), rows=16, buckets=(250,), parts=({"select": SPEECH},)
    )
    with tempfile.TemporaryDirectory() as folder:
        whole = convert_whisper(flags.whisper, Path(folder) / "whole")
        layers = flags.layers or whole.components[COMPONENT].hidden_layer
        config = dataclasses.replace(whole.components[COMPONENT], hidden_layer=layers)
        whole.components[COMPONENT] = config
        config, variables = whole.load(COMPONENT)
        variables |= {"statistics": statistics_of(config, variables, Pipeline(data), flags.batches)}
        provenance = f"{whole.provenance}, {config.num_layers} layers; statistics by metis_jax, nano/ssl_encoder.py"
        with write_bundle(flags.output, license=whole.license, provenance=provenance) as writer:
            writer.add(COMPONENT, config, variables)
    print(f"{flags.output}: {config}")


if __name__ == "__main__":
    sys.exit(main())

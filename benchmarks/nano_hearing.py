"""How well the SSL encoder of a bundle hears through noise: what its features and tokens keep of those of clean speech.

    python benchmarks/nano_hearing.py --bundle=BUNDLE --clean=clean/ --noisy=se_10/,se_5/,se_0/

Recordings are paired by name.  Prints one JSON object; of each folder, `features` and `codes` are shares of the
variance of the clean features, and of what their tokens decode to, that those of the noisy explain (1 is all, 0 no
more than their mean), `tokens` is the share of frames whose token is the same.
"""

import argparse
import json
import sys
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, Int

from metis_jax.audio.files import read_wave
from metis_jax.clock import SSL_RATE
from metis_jax.evaluation.pairing import find_audio
from metis_jax.inference.engine import Engine
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.types import Policy
from metis_jax.weights.bundle import Bundle

Frames = Float[np.ndarray, "_ d"]


def explained(clean: Sequence[Frames], noisy: Sequence[Frames]) -> float:
    """Share of the variance of `clean` that `noisy` explains, over all frames."""
    truth, found = np.concatenate(clean), np.concatenate(noisy)
    return round(float(1 - np.mean((found - truth) ** 2) / np.mean((truth - truth.mean(0)) ** 2)), 3)


class Hearing:
    """Encoder and semantic codec of a bundle."""

    def __init__(self, path: str):
        bundle = Bundle(path)
        self.engine = Engine(bundle, policy=Policy(), devices=jax.local_devices()[:1], rows=1)
        config, self._variables = bundle.load("semantic_codec")
        self._codec = SemanticCodec(config)

    def features(self, folder: str, names: Sequence[str] | None) -> tuple[list[str], list[Frames]]:
        """Names and features of a folder's recordings; ValueError where they are not the given ones."""
        place = find_audio(folder, folder)
        if names is not None and list(place.names) != list(names):
            raise ValueError(f"{folder}: its recordings are not named as the clean ones")
        return list(place.names), self.engine.ssl_features([read_wave(path).at(SSL_RATE) for path in place.paths])

    def codes(self, features: Sequence[Frames]) -> tuple[list[Int[np.ndarray, " _"]], list[Frames]]:
        """Tokens of features, and the features that they decode to."""
        tokens = self.engine.semantic_tokens(features)
        return tokens, [
            np.asarray(self._codec.apply(self._variables, one[None], np.array([len(one)]), method="decode"))[0]
            for one in tokens
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What SSL features and tokens of noisy speech keep of the clean.")
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--clean", required=True, help="a folder of recordings")
    parser.add_argument("--noisy", required=True, help="comma-separated folders of the same with noise")
    flags = parser.parse_args(arguments)
    try:
        hearing = Hearing(flags.bundle)
        names, clean = hearing.features(flags.clean, None)
        tokens, centres = hearing.codes(clean)
        found = {"clean": {"codes": explained(clean, centres)}}
        for folder in flags.noisy.split(","):
            _, noisy = hearing.features(folder, names)
            heard, near = hearing.codes(noisy)
            found[folder] = {
                "features": explained(clean, noisy),
                "codes": explained(centres, near),
                "tokens": round(float(np.mean(np.concatenate(heard) == np.concatenate(tokens))), 3),
            }
    except (ValueError, OSError) as error:
        print(f"nano_hearing: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

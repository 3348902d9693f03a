"""What the tokens of a bundle keep of speech: waves decoded from them, for `evaluate.py`, and how many codes are used.

    python nano/measure/tokens.py --bundle=BUNDLE --inputs=clean/ --outputs=DIR [--levels=1,2,4,8] [--resynthesis]

DIR/levels_<n> is the acoustic codec alone with its first n levels.  With --resynthesis DIR/ssl is speech from the SSL
tokens: both acoustic generators, then the codec; where the bundle wants it of enhancement (`own_voice`), the first
seconds of the recording are the prompt, as there.  Prints one JSON object.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Iterable, Sequence

import jax
import numpy as np
from jaxtyping import Float, Int

from metis_jax.audio.files import read_wave, write_wave
from metis_jax.clock import CODEC_RATE, SSL_RATE
from metis_jax.evaluation.pairing import find_audio
from metis_jax.inference.engine import Engine
from metis_jax.inference.jobs import AcousticJob
from metis_jax.inference.passes import OWN_VOICE_FRAMES
from metis_jax.inference.settings import Settings
from metis_jax.inference.windows import WindowPlan
from metis_jax.types import Policy
from metis_jax.weights.bundle import Bundle


def usage(tokens: Sequence[Int[np.ndarray, " _"]], codebook_size: int) -> dict[str, float]:
    """Share of the codes that occur, entropy in nats of one code, and share of frames that repeat the one before."""
    counts = np.bincount(np.concatenate(tokens), minlength=codebook_size)
    shares = counts[counts > 0] / counts.sum()
    return {
        "frames": int(counts.sum()),
        "share_used": round(float(np.mean(counts > 0)), 4),
        "entropy_nats": round(float(-np.sum(shares * np.log(shares))), 3),
        "repeats": round(float(np.mean(np.concatenate([codes[1:] == codes[:-1] for codes in tokens]))), 4),
    }


def write_waves(folder: pathlib.Path, names: Sequence[str], waves: Iterable[Float[np.ndarray, " _"]]) -> None:
    """`<name>.wav` at the codec's rate for every name."""
    for name, wave in zip(names, waves, strict=True):
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_wave(path, CODEC_RATE) as writer:
            writer.write(wave)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Speech decoded from tokens, and the use of codes.")
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--inputs", required=True, help="a folder or list of clean recordings")
    parser.add_argument("--outputs", required=True, type=pathlib.Path)
    parser.add_argument("--levels", default="", help="comma-separated numbers of levels; by default all levels")
    parser.add_argument("--resynthesis", action="store_true", help="decode from SSL tokens, too")
    flags = parser.parse_args(arguments)
    try:
        place = find_audio(flags.inputs, "--inputs")
        waves = [read_wave(path) for path in place.paths]
        bundle = Bundle(flags.bundle)
        engine = Engine(bundle, policy=Policy(), devices=jax.local_devices()[:1], rows=1)
        codec = bundle.components["acoustic_codec"]
        acoustic = engine.acoustic_tokens([wave.at(CODEC_RATE) for wave in waves])
        levels = [int(count) for count in flags.levels.split(",") if count] or [codec.num_levels]
        for count in levels:
            decoded = engine.waves([tokens[:, :count] for tokens in acoustic])
            write_waves(flags.outputs / f"levels_{count}", place.names, decoded)
        found = {
            f"acoustic level {q + 1}": usage([tokens[:, q] for tokens in acoustic], codec.codebook_size)
            for q in range(codec.num_levels)
        }
        if "semantic_codec" in bundle.components:
            ssl = engine.semantic_tokens(engine.ssl_features([wave.at(SSL_RATE) for wave in waves]))
            found["ssl"] = usage(ssl, bundle.components["semantic_codec"].codebook_size)
        if flags.resynthesis:
            settings = Settings.of("se", preferred=bundle.decoding)
            ahead = OWN_VOICE_FRAMES if settings.own_voice else 0
            room = WindowPlan.of(bundle.decoding).room(ahead)
            jobs, owners = [], []
            for index, (tokens, heard) in enumerate(zip(ssl, acoustic, strict=True)):
                voice = heard[: min(ahead, len(tokens))]
                for start in range(0, len(tokens), room):
                    said = np.concatenate([tokens[: len(voice)], tokens[start : start + room]])
                    jobs.append(AcousticJob(said, voice, (0, index, start)))
                    owners.append(index)
            found_tokens = engine.acoustic_stage(jobs, settings.first_level, settings.other_levels)
            pieces = [[] for _ in ssl]
            for owner, job, made in zip(owners, jobs, found_tokens, strict=True):
                pieces[owner].append(made[len(job.known) :])
            write_waves(flags.outputs / "ssl", place.names, engine.waves(list(map(np.concatenate, pieces))))
    except (ValueError, OSError) as error:
        print(f"tokens: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

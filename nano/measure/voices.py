"""How often an output's own prompt is nearest to it of all prompts of its set, by speaker similarity.

    python nano/measure/voices.py --jobs=DIR/tts_unseen.jsonl [--speaker_model=voicefilter]

A list of `infer.py` whose outputs are there, as `tasks.py` leaves them.  Prompts of one speaker count as any others.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from metis_jax.audio.files import read_wave
from metis_jax.cli.command import exit_status
from metis_jax.evaluation import bootstrap
from metis_jax.evaluation.speakers import ENCODERS, RATE, speaker_encoder


def nearest_is_own(outputs: Float[np.ndarray, "n d"], prompts: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
    """Whether of all prompts the one of the same row has the largest cosine."""
    outputs, prompts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (outputs, prompts))
    return np.argmax(outputs @ prompts.T, axis=1) == np.arange(len(outputs))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", required=True, type=pathlib.Path)
    parser.add_argument("--speaker_model", default=next(iter(ENCODERS)))
    flags = parser.parse_args(arguments)
    return exit_status("voices", lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    jobs = [json.loads(line) for line in flags.jobs.read_text(encoding="utf-8").splitlines()]
    encoder = speaker_encoder(flags.speaker_model)
    outputs, prompts = (
        np.stack([encoder.embed(read_wave(job[role]).at(RATE), RATE) for job in jobs]) for role in ("output", "prompt")
    )
    found = nearest_is_own(outputs, prompts)
    share = bootstrap.estimate(found.astype(np.float64), np.ones(len(found)), seed=0)
    interval = "" if share.low is None else f" [{share.low:.1%}, {share.high:.1%}]"
    print(f"own prompt nearest of {len(jobs)}: {share.mean:.1%}{interval}, {encoder.name}")


if __name__ == "__main__":
    sys.exit(main())

"""What stage 1 says: phone errors of the SSL tokens that it decodes, by the head that learned with the codes.

    python nano/measure/stage1.py --bundle=BUNDLE --codes=CODES --sets=SETS [--only=se_5,tts_unseen] [--steps=10]

BUNDLE is a whole model, CODES the export of stage `phonetic_codec` whose SSL encoder and codec it has, SETS are of
`sets.py`.  Beside what is decoded stands what the head finds in the tokens of the clean recording, if there is one:
the bound.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from metis_jax.audio.files import read_wave
from metis_jax.cli.command import exit_status
from metis_jax.clock import SSL_RATE
from metis_jax.evaluation.words import edit_distance
from metis_jax.inference.metis import Metis
from metis_jax.inference.script import Script
from metis_jax.inference.settings import StageSettings
from metis_jax.weights.bundle import Bundle
from nano.measure.phones import Reader, Sounds, errors, texts_of
from nano.measure.tasks import SETS

_ONCE = StageSettings((1,), 0.0, 0.0, choice_temperature=0.0)  # of stage 2, whose waves nobody hears


def decoded(metis: Metis, task: str, job: dict[str, str], changes: dict[str, float]) -> Int[np.ndarray, " t"]:
    """SSL tokens of one job, without those of its prompt."""
    settings = dataclasses.replace(metis.settings(task, **changes), first_level=_ONCE, other_levels=_ONCE)
    how = {"settings": settings}
    if "prompt" not in job:
        return metis.transform(task, job["source"], **how).semantic
    prompt = metis.encode_prompt(job["prompt"])
    if task == "tts":
        speech = metis.speak(Script(text=job["text"], prompt_text=job["prompt_text"], language="en"), prompt, **how)
    else:
        speech = metis.transform(task, job["source"], prompt, **how)
    return speech.semantic[len(prompt.semantic) :]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--codes", required=True)
    parser.add_argument("--sets", required=True, type=pathlib.Path)
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--items", type=int, default=0, help="the first few of a set")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--guidance", type=float, default=None)
    flags = parser.parse_args(arguments)
    return exit_status("stage1", lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    metis, reader, sounds = (
        Metis.from_pretrained(flags.bundle),
        Reader(Bundle(flags.codes), is_quantized=True),
        Sounds(),
    )
    changes = {"steps": flags.steps, "guidance": flags.guidance}
    texts = texts_of(flags.sets)
    for name in flags.only.split(","):
        if name not in SETS:
            raise ValueError(f"--only={flags.only}: there is no set {name!r}; there are {', '.join(SETS)}")
        lines = (flags.sets / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        jobs = [json.loads(line) for line in lines][: flags.items or None]
        edits, bounds, lengths = [], [], []
        for job in jobs:
            file = pathlib.Path(job["output"]).name
            if not (said := job.get("text") or texts.get(file)):
                continue
            wanted = sounds.of(said)
            edits.append(edit_distance(wanted, reader.phones(decoded(metis, SETS[name].task, job, changes))))
            lengths.append(len(wanted))
            clean = flags.sets / (SETS[name].references or f"{name}/source") / file
            bounds.append(edit_distance(wanted, reader(read_wave(clean).at(SSL_RATE))[1]) if clean.exists() else np.nan)
        print(
            f"{name}: phone errors {errors(edits, lengths)} of {len(edits)} files, "
            f"of tokens of the clean recordings {errors(bounds, lengths)}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())

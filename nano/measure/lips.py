"""Lip-to-speech of clips whose sound and words are known: what is understood of it, and whether it is in time.

    python nano/measure/lips.py --bundle=BUNDLE --clips=MANIFEST.jsonl --output=DIR [--recognizer=WHISPER]
        [--prompt=metis_jax/assets/prompt.flac] [--seed=0]

A line of the manifest has `path` (a video), `audio` (its sound, a file or the video) and `text`.  DIR has a wave per
clip, DIR/clips.jsonl what the recogniser hears in it and in the clip's own sound.  The delay of a wave is the shift, in
frames of 20 ms, at which its loudness resembles that of the clip's sound most.  Prints one JSON object.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from metis_jax.audio.files import read_wave, write_wave
from metis_jax.cli.command import exit_status
from metis_jax.clock import SSL_HOP, SSL_RATE
from metis_jax.evaluation.bootstrap import estimate
from metis_jax.evaluation.recognizer import RATE, Recognizer
from metis_jax.evaluation.words import word_errors
from metis_jax.inference.metis import Metis

_MOST_FRAMES = 25  # of delay that are looked for, to either side


def loudness(wave: Float[np.ndarray, " l"]) -> Float[np.ndarray, " t"]:
    """Root mean squares of frames of 20 ms at 16 kHz, in decibels above the loudest less 40."""
    frames = wave[: len(wave) // SSL_HOP * SSL_HOP].reshape(-1, SSL_HOP)
    level = 20 * np.log10(np.sqrt(np.mean(frames**2, axis=1)) + 1e-9)
    return np.maximum(level - level.max() + 40, 0)


def delay(wave: Float[np.ndarray, " l"], reference: Float[np.ndarray, " n"]) -> int:
    """Frames by which `wave` comes after `reference`; both at 16 kHz."""
    late, early = loudness(wave), loudness(reference)
    length = min(len(late), len(early))
    late, early = (one[:length] - one[:length].mean() for one in (late, early))
    products = np.correlate(late, early, mode="full")[length - 1 - _MOST_FRAMES : length + _MOST_FRAMES]
    return int(np.argmax(products)) - _MOST_FRAMES


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Lip-to-speech of clips whose words are known.")
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--clips", required=True, type=pathlib.Path)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--prompt", default=None)
    parser.add_argument("--recognizer", default=None)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(arguments)
    return exit_status("lips", lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    clips = [json.loads(line) for line in flags.clips.read_text(encoding="utf-8").splitlines()]
    metis = Metis.from_pretrained(flags.bundle)
    said = metis.lip_read([clip["path"] for clip in clips], flags.prompt, seed=flags.seed)
    recognizer = Recognizer(flags.recognizer, language="en")
    flags.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for clip, speech in zip(clips, said, strict=True):
        name = pathlib.Path(clip["path"]).stem
        with write_wave(flags.output / f"{name}.wav", speech.wave.rate) as writer:
            writer.write(speech.wave.samples)
        wave, own = speech.wave.at(SSL_RATE), read_wave(clip["audio"]).at(SSL_RATE)
        heard = {key: recognizer.transcribe(x, RATE) for key, x in (("heard", wave), ("heard_in_clip", own))}
        rows.append({"clip": name, "text": clip["text"], "delay_frames": delay(wave, own)} | heard)
    lines = [json.dumps(row) for row in rows]
    (flags.output / "clips.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(json.dumps(summary(rows), indent=1))


def summary(rows: Sequence[dict]) -> dict[str, object]:
    """Pooled word error rates in percent with their 95% intervals, and the delays."""
    rates = {}
    for key in ("heard", "heard_in_clip"):
        errors = [word_errors(row["text"], row[key], language="en") for row in rows]
        words = np.asarray([error.length for error in errors], np.float64)
        found = estimate(np.asarray([error.rate for error in errors]), words, seed=0)
        rates[key] = [None if x is None else round(100 * x, 1) for x in (found.mean, found.low, found.high)]
    return {"clips": len(rows), "wer_percent": rates, "delay_frames": [row["delay_frames"] for row in rows]}


if __name__ == "__main__":
    sys.exit(main())

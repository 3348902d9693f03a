"""The whole nano chain, from a manifest of recordings to a bundle.

    python nano/chain.py --manifest=CORPUS/manifest.jsonl --manifest=SPEECH/manifest.jsonl --whisper=FOLDER \\
        --workdir=DIR [--jobs=2] [--until=STEP]
    python nano/chain.py --workdir=DIR --quicktest

The same command goes on where it stopped: every step is a command of its own that resumes (training from its last
checkpoint, extraction from its last shard), and a step that has ended leaves DIR/STEP.done.  What a step says is in
DIR/STEP.log.  Steps whose inputs are ready run side by side, `--jobs` at a time, each on its share of the cores.
`--quicktest` runs every step on synthetic speech with the reduced models, in minutes.

Expected times for eight hours of speech: `docs/nano.md`.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script in a folder is started without the folder above it

from nano.configs.common import DEGRADATIONS, NOISE

LICENSE = "MIT; SSL encoder: Whisper (MIT, OpenAI); trained on CC BY, public-domain and made speech"
PROVENANCE = (
    "metis_jax, nano/chain.py: SSL encoder from Whisper tiny.en, all else trained from nothing by this repository"
)
# Enhancement takes the voice from its own source.  Windows are as long as what the generators were trained on: longer
# ones lose the words.  Words are kept best where stage 2 draws nothing at random, where stage 1 takes the likeliest
# token of what it hears, and where text to speech has less guidance than the paper's (docs/nano.md).
_QUIET = {"guidance": 1.0, "temperature": 0.0, "choice_temperature": 0.0}
_LIKELIEST = {"semantic": {"temperature": 0.0}}
DECODING = {
    "own_voice": True,
    "window": {"frames": 384, "overlap": 64, "least": 224},
    "first_level": {"steps": [16]} | _QUIET,
    "other_levels": {"steps": [4, 1]} | _QUIET,
    "tts": {"semantic": {"guidance": 1.0}},
    **dict.fromkeys(("se", "tse", "vc"), _LIKELIEST),
}
SYNTHETIC_RECORDS = 48


@dataclasses.dataclass(frozen=True)
class Step:
    """Commands in a row, once the steps in `needs` have ended.  A command ends early if what it makes is there."""

    name: str
    needs: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    makes: pathlib.Path | None = None


class Chain:
    """The steps of one working folder."""

    def __init__(
        self,
        workdir: pathlib.Path,
        manifests: Sequence[str],
        whisper: str,
        *,
        quicktest: bool,
        overrides: dict[str, tuple[str, ...]],
    ):
        self.workdir, self.manifests, self.whisper = workdir, manifests, whisper
        self.quicktest, self.overrides = quicktest, overrides

    def at(self, *parts: str) -> str:
        return str(self.workdir.joinpath(*parts))

    def bundle(self, step: str) -> str:
        return self.at(step, "bundle")

    def folders(self, step: str) -> tuple[str, ...]:
        """One folder of shards for each manifest."""
        return tuple(self.at(step, str(place)) for place in range(len(self.manifests) or 1))

    def steps(self) -> list[Step]:
        shards, tokens = self.folders("shards"), self.folders("tokens")
        # Stage 2 learns from clean speech, and from SSL tokens and prompts that were heard through noise.
        both = (*tokens, *self.folders("noisy_tokens"))
        codes, continuous = self.bundle("semantic_codec"), self.bundle("continuous")
        return [
            Step("shards", (), tuple(map(self._prepare, self.manifests or ("",), shards))),
            *self._codes(shards),
            self._train(
                "semantic_codec",
                ("continuous",),
                shards,
                ssl_encoder=continuous,
                semantic_codec=continuous,
                phone_head=continuous,
            ),
            self._train("acoustic_codec", ("shards",), shards),
            self._train("acoustic_decoder", ("acoustic_codec",), shards, acoustic_codec=self.bundle("acoustic_codec")),
            self._assemble(
                "encoders",
                ssl_encoder=codes,
                semantic_codec=codes,
                acoustic_codec=self.bundle("acoustic_decoder"),
            ),
            self._extract("tokens", ("encoders",), shards, "ssl_tokens,acoustic_tokens"),
            self._extract("noisy_tokens", ("tokens",), tokens, "ssl_tokens,degraded_acoustic_tokens"),
            self._train("duration_predictor", ("tokens",), tokens),
            self._train("pretrain", ("tokens",), tokens),
            self._train("omni", ("pretrain",), tokens, semantic_generator=self.bundle("pretrain"), ssl_encoder=codes),
            self._train("s2a_first", ("noisy_tokens",), both),
            self._train("s2a_full", ("noisy_tokens",), both),
            self._assemble(
                "bundle",
                ssl_encoder=codes,
                semantic_codec=codes,
                acoustic_codec=self.bundle("acoustic_decoder"),
                semantic_generator=self.bundle("omni"),
                acoustic_generator_first=f"{self.bundle('s2a_first')}:acoustic_generator",
                acoustic_generator_full=f"{self.bundle('s2a_full')}:acoustic_generator",
                duration_predictor=self.bundle("duration_predictor"),
            ),
        ]

    def _prepare(self, manifest: str, output: str) -> tuple[str, ...]:
        if self.quicktest:
            code = "import pathlib, sys; from metis_jax.data.corpus.synthetic import write_synthetic_shards as write; "
            return (sys.executable, "-c", code + f"write(pathlib.Path(sys.argv[1]), {SYNTHETIC_RECORDS}, 0)", output)
        return (sys.executable, "data/prepare.py", f"--input={manifest}", f"--output={output}")

    def _codes(self, shards: tuple[str, ...]) -> list[Step]:
        """The encoder that was there and the networks around its codes; a quick test draws the encoder."""
        if self.quicktest:
            return [self._train("continuous", ("shards",), shards, config="semantic_codec:continuous,quicktest")]
        made = self.bundle("ssl_encoder")
        command = (sys.executable, "nano/ssl_encoder.py", f"--whisper={self.whisper}", f"--output={made}")
        command += tuple(f"--shards={folder}" for folder in shards[:1])
        return [
            Step("ssl_encoder", ("shards",), (command,), pathlib.Path(made)),
            self._train("continuous", ("ssl_encoder",), shards, config="semantic_codec:continuous", ssl_encoder=made),
        ]

    def _train(
        self, name: str, needs: tuple[str, ...], shards: tuple[str, ...], *, config: str = "", **initial: str
    ) -> Step:
        """Trains and exports an experiment of this folder."""
        file, _, word = (config or name).partition(":")
        is_quick = self.quicktest and "quicktest" not in word
        kind = "mix" if not self.quicktest else "quicktest,chain" if is_quick else ""
        words = ",".join(filter(None, (word, kind)))
        command = (
            sys.executable,
            "train.py",
            f"--config=nano/configs/{file}.py{words and ':' + words}",
            f"--workdir={self.at(name)}",
            f"--config.data.shards={shards!r}",
            *(f"--config.initial.{component}={place}" for component, place in initial.items()),
            *self.overrides.get(name, ()),
        )
        made = self.bundle(name)
        return Step(name, needs, (command, (*command, f"--export={made}")), pathlib.Path(made))

    def _extract(self, name: str, needs: tuple[str, ...], inputs: tuple[str, ...], arrays: str) -> Step:
        flags = (f"--bundle={self.bundle('encoders')}", f"--arrays={arrays}")
        if "degraded" in arrays:
            flags += (f"--degrade={json.dumps(DEGRADATIONS)}", f"--noise={json.dumps(NOISE)}")
        return Step(
            name,
            needs,
            tuple(
                (sys.executable, "data/extract_tokens.py", *flags, f"--input={source}", f"--output={output}")
                for source, output in zip(inputs, self.folders(name), strict=True)
            ),
        )

    def _assemble(self, name: str, **components: str) -> Step:
        made = self.workdir / name if name == "bundle" else pathlib.Path(self.bundle(name))
        serves = (
            ("--task=tts,se,tse,vc", f"--decoding={json.dumps(DECODING)}") if "semantic_generator" in components else ()
        )
        command = (
            sys.executable,
            "-m",
            "metis_jax.cli.assemble",
            f"--output={made}",
            *serves,
            "--dtype=float16",
            f"--license={LICENSE}",
            f"--provenance={PROVENANCE}",
            *(f"--component={component}={place}" for component, place in components.items()),
        )
        needs = tuple(pathlib.Path(place.partition(":")[0]).parent.name for place in components.values())
        return Step(name, needs, (command,), made)


class StepFailed(RuntimeError):
    """A command of a step ended with an error, or was stopped."""


class Runner:
    """Runs steps as their inputs become ready; on a signal tells every running command to stop and save."""

    def __init__(self, workdir: pathlib.Path, jobs: int):
        self.workdir, self.jobs = workdir, jobs
        self.running: set[subprocess.Popen] = set()
        self.stopped = False

    def stop(self, *_: object) -> None:
        self.stopped = True
        for process in tuple(self.running):
            process.send_signal(signal.SIGTERM)

    def is_done(self, name: str) -> bool:
        return (self.workdir / f"{name}.done").exists()

    def run_all(self, steps: Sequence[Step]) -> None:
        waiting = [step for step in steps if not self.is_done(step.name)]
        futures: dict[concurrent.futures.Future, Step] = {}
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            while (waiting or futures) and not self.stopped:
                ready = [step for step in waiting if all(map(self.is_done, step.needs))]
                for step in ready[: self.jobs - len(futures)]:
                    waiting.remove(step)
                    futures[pool.submit(self.run, step)] = step
                if not futures:
                    raise StepFailed(f"step {waiting[0].name!r} waits for {waiting[0].needs}, which are left out")
                done, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    del futures[future]
                    if future.exception():
                        self.stop()
                        raise future.exception()

    def run(self, step: Step) -> None:
        started = time.monotonic()
        print(f"{step.name}: begins", flush=True)
        log = self.workdir / f"{step.name}.log"
        if not (step.makes and step.makes.exists()):
            for command in step.commands:
                self._call(step.name, command, log)
        (self.workdir / f"{step.name}.done").touch()
        print(f"{step.name}: done in {time.monotonic() - started:.0f} s", flush=True)

    def _call(self, name: str, command: Sequence[str], log: pathlib.Path) -> None:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"$ {shlex.join(command)}\n")
            file.flush()
            # A group of its own: an interrupt from the keyboard reaches the commands through `stop`, once.
            streams = {"stdout": file, "stderr": file}
            process = subprocess.Popen(command, cwd=ROOT, env=self._environment(), start_new_session=True, **streams)
            self.running.add(process)
            try:
                status = process.wait()
            finally:
                self.running.discard(process)
        if self.stopped:
            raise StepFailed(f"{name}: stopped; the same command goes on from here")
        if status:
            tail = log.read_text(encoding="utf-8").strip().splitlines()[-1]
            raise StepFailed(f"{name}: exit status {status}: {tail} (see {log})")

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
        # On a CPU every step maps its buffers anew: by pages of 4 KiB that takes up to a third of its time.
        environment.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
        if self.jobs > 1 and (os.cpu_count() or 1) <= 2 * self.jobs:
            # Side by side on few cores, threads of one step only get into the other's way.
            limit = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {limit}".strip()
        return environment


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The nano chain, from a manifest to a bundle; resumes.")
    parser.add_argument(
        "--manifest",
        action="append",
        default=[],
        help="JSON lines, or a folder, as data/prepare.py takes it; repeatable",
    )
    parser.add_argument("--whisper", default="", help="a folder with Whisper tiny.en, as convert.py takes it")
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=1, help="steps side by side")
    parser.add_argument("--until", default="", help="end after this step and what it needs")
    parser.add_argument("--quicktest", action="store_true", help="reduced models, synthetic speech")
    parser.add_argument(
        "--set", action="append", default=[], help="STEP:key=value, an override of that step's config, repeatable"
    )
    flags = parser.parse_args(arguments)
    overrides: dict[str, tuple[str, ...]] = {}
    for text in flags.set:
        name, _, rest = text.partition(":")
        overrides[name] = (*overrides.get(name, ()), f"--config.{rest}")
    try:
        if not flags.quicktest and not (flags.manifest and flags.whisper):
            raise ValueError("give --manifest and --whisper, or --quicktest for synthetic speech and drawn weights")
        manifests = [str(pathlib.Path(manifest).resolve()) for manifest in flags.manifest]
        whisper = flags.whisper and str(pathlib.Path(flags.whisper).resolve())
        workdir = flags.workdir.resolve()
        steps = Chain(workdir, manifests, whisper, quicktest=flags.quicktest, overrides=overrides).steps()
        known = [step.name for step in steps]
        for name in (*overrides, *filter(None, (flags.until,))):
            if name not in known:
                raise ValueError(f"there is no step {name!r}; the steps are {', '.join(known)}")
        workdir.mkdir(parents=True, exist_ok=True)
        runner = Runner(workdir, max(1, flags.jobs))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, runner.stop)
        runner.run_all(_needed(steps, flags.until))
    except (ValueError, OSError) as error:
        print(f"chain: {error}", file=sys.stderr)
        return 2
    except StepFailed as error:
        print(f"chain: {error}", file=sys.stderr)
        return 1
    print(f"done: {workdir}")
    return 0


def _needed(steps: Sequence[Step], last: str) -> list[Step]:
    """All steps, or `last` and those it rests on."""
    if not last:
        return list(steps)
    wanted = {last}
    for step in reversed(steps):
        if step.name in wanted:
            wanted.update(step.needs)
    return [step for step in steps if step.name in wanted]


if __name__ == "__main__":
    sys.exit(main())

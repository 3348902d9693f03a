"""Fine-tune on recordings of your own: a folder in, a bundle that speaks out.

    metis-tune se RECORDINGS -o TUNED                     # from the small packaged model
    metis-tune vc RECORDINGS -o TUNED --base=BUNDLE --steps=5000
    metis-tune tts RECORDINGS -o TUNED                    # a.wav with its words in a.txt, or a manifest
    metis-tune se RECORDINGS -o TUNED --noise=NOISES

It gives `prepare`, `extract_tokens` (tts) and `train` what they need, and prints the line of each: every one can be
given by hand, with more to set.  The same command goes on where it stopped.  RECORDINGS is what `prepare --input`
takes.  LoRA moves adapters alone, --full every parameter of the generator.
"""

import json
import pathlib
import shlex
import sys
from collections.abc import Iterator, Sequence

import jax
from absl import flags

from metis_jax.cli import command, extract_tokens, prepare, train  # here too, so that a missing extra is known at once
from metis_jax.cli.experiment import shipped
from metis_jax.cli.launch import run_together
from metis_jax.config import SemanticGeneratorConfig
from metis_jax.files.places import check_is_local
from metis_jax.training.starts.base import GENERATOR, generator_for
from metis_jax.weights.bundle import Bundle

TASKS = ("se", "tse", "vc", "tts")
# What two cores train in seconds; the experiments' own batches are for accelerators.
_ON_CPU = {"data.buckets": "(150, 250, 400)", "data.example.max_phones": "112", "tokens_per_device": "1600"}


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_string("output", None, "The bundle to write.", short_name="o", flag_values=values)
    flags.DEFINE_string("base", "nano", "The bundle to begin from.", flag_values=values)
    flags.DEFINE_string("noise", None, "A folder of recorded noise (se, tse).", flag_values=values)
    flags.DEFINE_string("workdir", None, "For shards and checkpoints; by default OUTPUT.run.", flag_values=values)
    flags.DEFINE_integer("steps", 1000, "Of training.", flag_values=values)
    flags.DEFINE_boolean("full", False, "Move every parameter of the generator.", flag_values=values)
    flags.DEFINE_float(
        "learning_rate",
        None,
        "By default the experiment's, more for a base that is narrower than the published one.",
        flag_values=values,
    )
    flags.DEFINE_multi_string("set", [], "KEY=VALUE of the experiment, as often as wanted.", flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, 2 with one line on stderr, or that of the command that failed or was stopped."""
    return command.run("tune", __doc__, _flags(), _run, argv, takes_words=True)


def _run(given: flags.FlagValues, *words: str) -> int:
    if len(words) != 2:
        raise ValueError("give a task and a folder of recordings, as in: metis-tune se RECORDINGS -o TUNED")
    task, recordings = words
    if task not in TASKS:
        raise ValueError(f"task is {task!r}; use one of {', '.join(TASKS)}")
    check_is_local(recordings)
    command.require(given, "output")
    command.check_range("steps", given.steps, 1, 10**9)
    if given.noise and task not in ("se", "tse"):
        raise ValueError(f"--noise is for se and tse, which learn in noise; leave it out for {task}")
    output = pathlib.Path(given.output)
    if output.exists():
        raise ValueError(f"{output} is there already; name another --output")
    for line in list(_lines(given, task, recordings, output)):  # what is wrong with one is said before any is run
        print("$", shlex.join(("python", "-m", *line)), flush=True)
        if status := run_together([[sys.executable, "-m", *line]]):
            return status
    print(f"use it with --bundle={output}")
    return 0


def _lines(given: flags.FlagValues, task: str, recordings: str, output: pathlib.Path) -> Iterator[list[str]]:
    """The commands, module and flags of each."""
    workdir = pathlib.Path(given.workdir or f"{output}.run")
    shards = workdir / "shards"
    yield [prepare.__name__, f"--input={recordings}", f"--output={shards}"]
    heard = [str(shards)]
    if task == "tts":
        heard = [str(workdir / "tokens")]
        tokens = [f"--bundle={given.base}", f"--input={shards}", f"--output={heard[0]}", "--arrays=ssl_tokens"]
        yield [extract_tokens.__name__, *tokens]
    if given.noise:
        heard.append(str(workdir / "noise"))
        yield [prepare.__name__, f"--input={given.noise}", f"--output={heard[-1]}", "--layout=noise"]
    training = [train.__name__, *_training(given, task, heard), f"--workdir={workdir / 'training'}"]
    yield training
    yield [*training, f"--export={output}", f"--onto={given.base}"]


def _training(given: flags.FlagValues, task: str, shards: Sequence[str]) -> list[str]:
    """Which experiment, and how it differs for a short run from a base of any size."""
    words = "full" if given.full else "lora"
    experiment = f"finetune_{task}:{words}"
    rate = given.learning_rate
    if rate is None:
        base = Bundle(given.base)
        begun = generator_for(base, (task,))
        if begun is None:
            raise ValueError(f"{base.path} has no {GENERATOR} to begin from; give another --base")
        width = base.components[begun].width
        rate = shipped(experiment).optimizers[GENERATOR].learning_rate * SemanticGeneratorConfig().width / width
    values = {
        "base": given.base,
        "data.shards": f"({''.join(f'{json.dumps(path)},' for path in shards)})",  # as a shell quotes it least
        "steps": given.steps,
        f"optimizers.{GENERATOR}.learning_rate": f"{rate:.3g}",
        f"optimizers.{GENERATOR}.schedule": "cosine",
        f"optimizers.{GENERATOR}.warmup_steps": min(given.steps // 10, 2000),
        f"optimizers.{GENERATOR}.total_steps": given.steps,
        "log_every": max(given.steps // 100, 1),
        "eval_every": max(given.steps // 4, 1),
        "sample_every": 0,
        "checkpoint_every": max(given.steps // 20, 1),
    }
    values |= _ON_CPU if jax.default_backend() == "cpu" else {}
    for pair in given.set:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--set={pair}: expected KEY=VALUE")
        values[key] = value
    return [f"--config={experiment}", *(f"--config.{key}={value}" for key, value in values.items())]


if __name__ == "__main__":
    sys.exit(main())

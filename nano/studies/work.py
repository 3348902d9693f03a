"""From a study to commands: steps for the chain's runner, which goes on where it stopped.

A run is an arm with a seed, and its name their names, `se-full.0`.  In WORKDIR/trainings are the trainings, for arms of
several studies may share one.  In WORKDIR/STUDY, RUN.bundle is the chain's model with the trained generator in place of
its own, RUN.speech what that model says and its tables, and beside.speech the tables of what stands beside.
"""

import dataclasses
import fnmatch
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

from nano.chain import Step
from nano.measure import tasks
from nano.measure.sets import DEGRADED
from nano.measure.tasks import TABLES
from nano.studies.plan import PRETRAINED, Arm, Study

MEASURES = ("loss", "speech")
TRAININGS = "trainings"
GENERATOR = "semantic_generator"
RESYNTHESIS = "resynthesis"  # the step of a study that decodes recordings from their tokens
BESIDE = "beside.speech"  # the step of a study that measures the recordings that stand beside
FRAMES = "frames.npz"  # tokens and labels of all frames, in the folder of a study
_QUICK_STEPS = 2
_LEVELS, _REPLACED = "1,2,3,4", "10,30"
METRICS = "wer,dwer,dnsmos,stoi,similarity"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """What a command line says of a study.

    Attributes:
      study: its name, and that of its folder.
      workdir: of all studies.
      chain: working folder of `nano/chain.py`; none for a quick test, which trains tiny models on synthetic records.
      measure: "loss", or "speech" for both.
      sets: folder of `nano/measure/sets.py`, for speech.
      shards: folder of token shards, for what tokens hold.
      steps: of every training, in place of the study's.
      only: a pattern of names of runs.
    """

    study: str
    workdir: pathlib.Path
    chain: pathlib.Path | None = None
    measure: str = "loss"
    sets: pathlib.Path | None = None
    shards: pathlib.Path | None = None
    recognizer: str = ""
    steps: int | None = None
    only: str = "*"

    @property
    def folder(self) -> pathlib.Path:
        """Of this study."""
        return self.workdir / self.study

    @property
    def is_quick(self) -> bool:
        return self.chain is None

    def steps_of(self, study: Study) -> int:
        """Of every training that learns."""
        return self.steps or (_QUICK_STEPS if self.is_quick else study.steps)


def run_name(arm: Arm, seed: int) -> str:
    return f"{arm.key}.{seed}"


def training_name(study: str, arm: Arm, seed: int) -> str:
    """The step of a run's training, and its folder below the working folder."""
    return f"{TRAININGS}/{arm.training or f'{study}-{arm.key}'}.{seed}"


def speech_name(study: str, arm: Arm, seed: int) -> str:
    """The step that decodes and measures a run."""
    return f"{study}/{run_name(arm, seed)}.speech"


def runs(study: Study) -> Iterator[tuple[Arm, int]]:
    """Every arm with every seed; all arms of a seed before the next one, so that a first answer comes early."""
    return ((arm, seed) for seed in study.seeds for arm in study.arms)


def steps_of(study: Study, given: Given) -> list[Step]:
    """The steps of the chosen runs and of those they begin from; ValueError where none was chosen."""
    steps, wanted = [], set()
    if given.measure == "speech":
        steps += [_resynthesis(given)] if any(arm.tokens for arm in study.arms) else []
        steps += [_frames(given)] if any(arm.codebook for arm in study.arms) else []
        steps += [_beside(study, given)] if sets_of(study) else []
    for arm, seed in runs(study):
        found = list(_steps(study, arm, seed, given))
        steps += found
        if fnmatch.fnmatchcase(run_name(arm, seed), given.only):
            wanted |= {step.name for step in found}
    for step in reversed(steps):
        if step.name in wanted:
            wanted.update(step.needs)
    if not wanted:
        names = ", ".join(dict.fromkeys(arm.key for arm in study.arms))
        raise ValueError(f"--only={given.only} is no run of this study; runs are {names}, each with .SEED behind it")
    wanted.add(f"{given.study}/{BESIDE}")
    return [step for step in steps if step.name in wanted]


def _steps(study: Study, arm: Arm, seed: int, given: Given) -> Iterator[Step]:
    if arm.config:
        yield _training(study, arm, seed, given)
    if given.measure != "speech" or not (arm.sets or arm.tokens):
        return
    speech = speech_name(given.study, arm, seed)
    if arm.tokens:
        yield Step(speech, (_resynthesis(given).name,), (_measured_tokens(arm, given.workdir / speech, given),))
        return
    if arm.codebook:
        command = (*_information(given), f"--codebook={arm.codebook}", f"--output={given.workdir / speech}")
        yield Step(speech, (_frames(given).name,), (command,))
        return
    bundle, needs = given.chain / "bundle", ()
    if arm.config:
        step = f"{given.study}/{run_name(arm, seed)}.bundle"
        bundle, needs = given.workdir / step, (step,)
        command = (*train_command(study, arm, seed, given), f"--export={bundle}", f"--onto={given.chain / 'bundle'}")
        yield Step(step, (training_name(given.study, arm, seed),), (command,), bundle)
    yield Step(speech, needs, (_measured(arm, seed, bundle, given),))


def _training(study: Study, arm: Arm, seed: int, given: Given) -> Step:
    command, name = train_command(study, arm, seed, given), training_name(given.study, arm, seed)
    begins_from = _begins_from(study, arm)
    needs = (training_name(given.study, begins_from, seed),) if begins_from else ()
    if arm.key not in {other.begins_from for other in study.arms}:
        return Step(name, needs, (command,))
    made = given.workdir / name / "bundle"
    return Step(name, needs, (command, (*command, f"--export={made}")), made)


def _begins_from(study: Study, arm: Arm) -> Arm | None:
    """The arm whose generator this one begins from; None for the chain's."""
    return next((other for other in study.arms if other.key == arm.begins_from), None)


def train_command(study: Study, arm: Arm, seed: int, given: Given) -> tuple[str, ...]:
    """The training of one run."""
    steps = given.steps_of(study) if arm.learns else 1
    optimizer = f"optimizers.{GENERATOR}"
    values: dict[str, object] = {
        "seed": seed,
        "steps": steps,
        "eval_every": max(1, steps // 4) if steps % 4 == 0 else steps,
        "checkpoint_every": min(100, steps),
        "keep_checkpoints": 1,
        f"{optimizer}.total_steps": steps,
        f"{optimizer}.warmup_steps": min(100, steps // 4),
    }
    if not arm.learns:
        values[f"{optimizer}.learning_rate"] = 0.0
    config, colon, words = arm.config.partition(":")
    if given.is_quick:
        colon, words = ":", ",".join(filter(None, (words, "quicktest")))
    else:
        values["data.shards"] = tuple(map(str, sorted((given.chain / "tokens").iterdir())))
        if "tts" != config:
            values["initial.ssl_encoder"] = given.chain / "semantic_codec" / "bundle"
    if begins_from := _begins_from(study, arm):
        values[f"initial.{GENERATOR}"] = given.workdir / training_name(given.study, begins_from, seed) / "bundle"
    elif not given.is_quick and "scratch" not in words.split(","):
        values[f"initial.{GENERATOR}"] = given.chain / PRETRAINED / "bundle"
    return (
        sys.executable,
        "train.py",
        f"--config=nano/configs/{config}.py{colon}{words}",
        f"--workdir={given.workdir / training_name(given.study, arm, seed)}",
        *(f"--config.{key}={value}" for key, value in (values | dict(arm.changes)).items()),
    )


def sets_of(study: Study) -> list[str]:
    """Test sets of speech that a study decodes."""
    return list(dict.fromkeys(name for arm in study.arms if not arm.codebook for name in arm.sets))


def _beside(study: Study, given: Given) -> Step:
    command = (*_measuring(sets_of(study), tasks.BESIDE, given), f"--output={given.folder / BESIDE}")
    return Step(f"{given.study}/{BESIDE}", (), (command,))


def _measuring(sets: Iterable[str], of: str, given: Given) -> tuple[str, ...]:
    return (
        sys.executable,
        "nano/measure/tasks.py",
        f"--sets={given.sets}",
        f"--only={','.join(sets)}",
        f"--of={of}",
        f"--recognizer={given.recognizer}",
    )


def _measured(arm: Arm, seed: int, bundle: pathlib.Path, given: Given) -> tuple[str, ...]:
    return (
        *_measuring(arm.sets, tasks.OUTPUTS, given),
        f"--bundle={bundle}",
        f"--output={given.workdir / speech_name(given.study, arm, seed)}",
        f"--seed={seed}",
        *(f"--{flag}={value}" for flag, value in arm.decoding.items()),
    )


def _resynthesis(given: Given) -> Step:
    command = (
        sys.executable,
        "nano/measure/tokens.py",
        f"--bundle={given.chain / 'bundle'}",
        f"--inputs={given.sets / 'clean'}",
        f"--outputs={given.folder / RESYNTHESIS}",
        f"--levels={_LEVELS}",
        "--resynthesis",
        f"--replaced={_REPLACED}",
    )
    return Step(f"{given.study}/{RESYNTHESIS}", (), (command,))


def _information(given: Given) -> tuple[str, ...]:
    return (sys.executable, "nano/measure/information.py", f"--frames={given.folder / FRAMES}")


def _frames(given: Given) -> Step:
    command = (*_information(given), f"--shards={given.shards}")
    return Step(f"{given.study}/{pathlib.Path(FRAMES).stem}", (), (command,))


def _measured_tokens(arm: Arm, speech: pathlib.Path, given: Given) -> tuple[str, ...]:
    place = speech / TABLES
    place.mkdir(parents=True, exist_ok=True)  # evaluate.py writes into folders that are there
    return (
        sys.executable,
        "evaluate.py",
        f"--outputs={arm.key}={given.folder / RESYNTHESIS / arm.tokens}",
        f"--references={given.sets / 'clean'}",
        f"--texts={given.sets / 'texts.jsonl'}",
        f"--metrics={METRICS}",
        f"--report={place / arm.task}.json",
        *([f"--recognizer={given.recognizer}"] if given.recognizer else []),
    )


def check(study: Study, given: Given) -> None:
    """ValueError, naming what is missing, for a study that can not be run with what is given."""
    if given.measure == "speech":
        _check_speech(study, given)
    elif not any(arm.config for arm in study.arms):
        raise ValueError("this study trains nothing; give --measure=speech, --chain=DIR and --sets=SETS or --shards")
    if given.chain is not None:
        for place in _needed_of_chain(study, given):
            if not (given.chain / place).exists():
                raise ValueError(f"--chain={given.chain}: there is no {place}; nano/chain.py makes it")


def _check_speech(study: Study, given: Given) -> None:
    if any(arm.codebook for arm in study.arms):
        if given.shards is None:
            raise ValueError("this study needs --shards=TOKEN_SHARDS, speech with phones, their bounds and all tokens")
        return
    if given.is_quick or given.sets is None:
        raise ValueError("--measure=speech needs --chain=DIR and --sets=SETS (nano/measure/sets.py)")
    for name in ("texts", *sets_of(study)):
        if not (given.sets / f"{name}.jsonl").is_file():
            how = "from shards"
            if name.startswith("se_"):
                how = "with --degraded" if name.removeprefix("se_") in DEGRADED else "with that SNR in its --snrs"
            raise ValueError(f"--sets={given.sets}: there is no {name}.jsonl; nano/measure/sets.py writes it {how}")


def _needed_of_chain(study: Study, given: Given) -> Sequence[str]:
    trained = ("tokens", "semantic_codec/bundle", f"{PRETRAINED}/bundle") if any(a.config for a in study.arms) else ()
    return (*trained, *(("bundle",) if given.measure == "speech" else ()))

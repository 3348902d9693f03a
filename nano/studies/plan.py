"""What a study is: ways to compare (arms), each trained or decoded as plain data says, and who is against whom."""

import dataclasses
import re
from collections.abc import Mapping

STAGE2 = ("acoustic_generator_first", "acoustic_generator_full", "acoustic_codec")  # from SSL tokens to sound
PRETRAINED = "pretrain"  # the chain's step whose generator trainings begin from


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the ways that a study compares; arms of a study are told apart by task and name.

    Attributes:
      task: what it is compared in.
      against: the name of the arm that it is compared with, in every task and set that both were measured in.
      config: an experiment of `nano/configs` and its words, "tasks:se,scratch"; empty if nothing is trained, and the
        chain's whole model is measured.
      begins_from: where the generator begins: the chain's step `PRETRAINED`, or the `key` of another arm.
      training: a name that arms share, of any study, which are trained alike: they are trained once.
      learns: False measures the generator as it begins, by one step at a rate of zero.
      changes: {key of the config: value}.
      sets: test sets of `nano/measure/tasks.py` that its speech is measured on.
      decoding: {flag of `nano/measure/tasks.py`: value}, such as steps.
      codebook: of `nano/measure/information.py`, whose labels are then the `sets`.
      tokens: a folder that `nano/measure/tokens.py` writes, "levels_2" or "ssl", whose waves are measured.
    """

    name: str
    task: str
    against: str = ""
    config: str = ""
    begins_from: str = PRETRAINED
    training: str = ""
    learns: bool = True
    changes: Mapping[str, object] = dataclasses.field(default_factory=dict)
    sets: tuple[str, ...] = ()
    decoding: Mapping[str, float] = dataclasses.field(default_factory=dict)
    codebook: str = ""
    tokens: str = ""

    @property
    def key(self) -> str:
        """Task and name as they stand in names of files: "se-from_nothing_1"."""
        return "-".join(re.sub(r"[^a-z0-9.]+", "_", text.lower()).strip("_") for text in (self.task, self.name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Arms, each once for every seed.

    Attributes:
      question: what it answers, in whole sentences; they stand in the report.
      paper: what the Metis paper says of it; empty where it says nothing.
      also: more (first, second) names of arms, of which the second is compared with the first.
      compared: the measures that arms are compared in; few, for p is corrected for every comparison.
      steps: of every training.
      shown: the measure that is drawn, where no losses were recorded.
      heard: sets of which a recording can be listened to, as every arm says it.
      components: of the chain's bundle, on which its speech depends.
      groups: {set: {name: how files begin}}, files of a set that have a table of their own too.
    """

    title: str
    question: str
    arms: tuple[Arm, ...]
    paper: str = ""
    also: tuple[tuple[str, str], ...] = ()
    compared: tuple[str, ...] = ("loss", "wer", "sim_reference", "sim_prompt", "dnsmos_ovrl")
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 400
    shown: str = "wer"
    heard: tuple[str, ...] = ()
    components: tuple[str, ...] = ("semantic_generator", *STAGE2)
    groups: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        names = {arm.name for arm in self.arms} | set(BESIDE)
        earlier = [PRETRAINED]
        for arm in self.arms:
            if arm.key in earlier:
                raise ValueError(f"study {self.title!r}: two arms are called {arm.key!r}")
            if arm.begins_from not in earlier:
                raise ValueError(f"study {self.title!r}: {arm.key} begins from {arm.begins_from!r}, no arm before it")
            if arm.against and arm.against not in names:
                raise ValueError(f"study {self.title!r}: {arm.key} is against {arm.against!r}, which is no arm")
            earlier.append(arm.key)
        if unknown := {name for pair in self.also for name in pair} - names:
            raise ValueError(f"study {self.title!r}: it also compares {', '.join(sorted(unknown))}, which is no arm")

    def pairs(self) -> list[tuple[str, str]]:
        """Names of arms that are compared, the one that is compared with first."""
        return list(dict.fromkeys((*((arm.against, arm.name) for arm in self.arms if arm.against), *self.also)))


# Recordings that stand in the tables of `nano/measure/tasks.py` beside what was decoded.
BESIDE = ("clean", "noisy", "mixture", "source")

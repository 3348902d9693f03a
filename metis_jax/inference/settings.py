"""What speech is made with and what comes out: settings, the encoded prompt, the result."""

import dataclasses
import numbers
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypedDict, Unpack

import numpy as np

from metis_jax.audio.files import Wave, write_wave
from metis_jax.files.outputs import new_file
from metis_jax.inference.jobs import StageSettings
from metis_jax.sections import from_config_dict
from metis_jax.tasks import TASKS
from metis_jax.types import Float, Int
from metis_jax.weights.tensor_files import TensorFile, WeightsError, spec_of, write_tensor_file

_MOST_SEED = 2**31 - 1


class Changes(TypedDict, total=False):
    """What `Settings.changed` takes; None stands for no change."""

    steps: int | None
    guidance: float | None
    temperature: float | None
    seed: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How speech is decoded; `Settings.of(task)` is as released.

    Attributes:
      semantic: stage 1.
      first_level, other_levels: stage 2.
      own_voice: se; what is enhanced is its own prompt for stage 2, which was trained to hear a voice through noise
        (`degraded_prompts`), as helps where SSL tokens do not carry the voice.  In the paper se has no prompt.
      seed: of the noise.  The same source, prompt and seed give the same speech, alone or in a list.
    """

    semantic: StageSettings
    first_level: StageSettings = StageSettings((40,), 0.0, 1.5)
    other_levels: StageSettings = StageSettings((16, 1), 2.5, 1.5)
    own_voice: bool = False
    seed: int = 0

    def __post_init__(self):
        if not isinstance(self.seed, numbers.Integral) or not 0 <= self.seed <= _MOST_SEED:
            raise ValueError(f"seed is {self.seed!r}; expected a whole number from 0 to {_MOST_SEED}")

    @classmethod
    def of(
        cls, task: str, *, preferred: Mapping[str, Any] = MappingProxyType({}), **changes: Unpack[Changes]
    ) -> "Settings":
        """The released settings of a task, changed as `changed` does.

        `preferred` changes them as a bundle may wish: {stage: {field: value}} for all tasks, then
        {task: {stage: {field: value}}} for one, and "own_voice" for se.  "window" is for `WindowPlan.of`.
        """
        if task not in TASKS:
            raise ValueError(f"task is {task!r}; use one of {', '.join(TASKS)}")
        released = cls(semantic=StageSettings((TASKS[task].steps,), TASKS[task].guidance, 0.9))
        stages = {name: getattr(released, name) for name in ("semantic", "first_level", "other_levels")}
        preferred = dict(preferred)
        wants_own = _flag("own_voice", preferred.pop("own_voice", False))
        preferred.pop("window", None)
        by_task = {name: preferred.pop(name) for name in TASKS if name in preferred}
        for where, wishes in (("decoding", preferred), (f"decoding.{task}", by_task.get(task, {}))):
            for name, fields in _by_name(wishes, where).items():
                if name not in stages:
                    raise ValueError(f"{where} has no stage {name!r}; use {', '.join(stages)}")
                fields = dataclasses.asdict(stages[name]) | dict(_by_name(fields, f"{where}.{name}"))
                stages[name] = from_config_dict(StageSettings, fields, where=f"{where}.{name}")
        own_voice = task == "se" and wants_own
        return dataclasses.replace(released, own_voice=own_voice, **stages).changed(**changes)

    def changed(
        self,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> "Settings":
        """The same with other steps, guidance or temperature of stage 1, or seed, where they are given.

        As in `settings = Settings.of("vc").changed(steps=40, seed=1)`.
        """
        asked = {"steps": steps, "guidance": guidance, "temperature": temperature}
        asked = {name: value for name, value in asked.items() if value is not None}
        for name, value in asked.items():
            kind, words = (numbers.Integral, "whole number") if name == "steps" else (numbers.Real, "number")
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"{name} is {value!r}; expected a {words}")
        if "steps" in asked:
            asked["steps"] = (int(steps),)
        own = {} if seed is None else {"seed": seed}
        return dataclasses.replace(self, semantic=dataclasses.replace(self.semantic, **asked), **own)

    def total_steps(self, num_levels: int) -> int:
        """Steps of all stages, for progress."""
        others = self.other_levels.steps_of(num_levels - 1)
        return sum(self.semantic.steps) + sum(self.first_level.steps) + sum(others)


def _by_name(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {value!r}; expected its settings by name")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"decoding.{name} is {value!r}; use true or false")
    return value


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A speaker's voice, encoded once; made by `Metis.encode_prompt`.

        metis.encode_prompt("voice.wav").save("voice.safetensors")
        metis.convert("words.wav", Prompt.load("voice.safetensors"))

    It is for the models that encoded it: tokens of others mean something else.
    """

    wave: Float[np.ndarray, " l"]  # 16 kHz
    semantic: Int[np.ndarray, " t"]
    acoustic: Int[np.ndarray, "u q"]

    def save(self, path: str | os.PathLike) -> None:
        """Writes a safetensors file, of any suffix, that appears whole; OSError where that can not be."""
        arrays = dict(zip(_PROMPT, (self.wave, self.semantic, self.acoustic), strict=True))
        arrays = {name: array.astype(_PROMPT[name][0]) for name, array in arrays.items()}
        with new_file(path) as partial:
            write_tensor_file(partial, {name: spec_of(array) for name, array in arrays.items()}, arrays.items())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Prompt":
        """What `save` has written; WeightsError, one line, for any other file."""
        file = TensorFile(path)
        found = {name: (spec.dtype, len(spec.shape)) for name, spec in file.specs.items()}
        if found != {name: (np.dtype(dtype), axes) for name, (dtype, axes) in _PROMPT.items()}:
            raise WeightsError(f"{path}: not a prompt; expected the tensors {', '.join(_PROMPT)} of Prompt.save")
        prompt = cls(*(file.read(name) for name in _PROMPT))
        if (
            not np.isfinite(prompt.wave).all()
            or min(prompt.semantic.min(initial=0), prompt.acoustic.min(initial=0)) < 0
        ):
            raise WeightsError(f"{path}: a prompt with samples that are not finite, or with negative tokens")
        return prompt


_PROMPT = {"wave": (np.float32, 1), "semantic": (np.int32, 1), "acoustic": (np.int32, 2)}  # dtype and axes


@dataclasses.dataclass(frozen=True)
class Speech:
    """What came out.

    Attributes:
      wave: mono samples.
      semantic: SSL tokens, those of the prompt first.
      acoustic: acoustic tokens of the wave.
      length_rule: of `LENGTH_RULES`, what chose the length of a spoken text.
    """

    wave: Wave
    semantic: Int[np.ndarray, " t"]
    acoustic: Int[np.ndarray, "u q"]
    length_rule: str = ""

    def save(self, path: str | os.PathLike) -> None:
        """Writes the wave as wav, flac, ogg, mp3 or aiff, by the suffix; AudioError where that can not be.

        As in `metis.enhance("noisy.wav").save("clean.wav")`.
        """
        with write_wave(path, self.wave.rate) as writer:
            writer.write(self.wave.samples)

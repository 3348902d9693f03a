"""What speech is made with and what comes out: settings, the encoded prompt, the result."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from metis_jax.audio.files import Wave
from metis_jax.inference.jobs import StageSettings
from metis_jax.sections import from_config_dict
from metis_jax.types import Float, Int

# Stage-1 steps and guidance as released.
_RELEASED = {"tts": (25, 2.5), "vc": (20, 1.0), "tse": (10, 0.0), "se": (10, 0.0), "l2s": (25, 0.0)}
TASKS = tuple(_RELEASED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How speech is decoded; `Settings.of(task)` is as released.

    Attributes:
      semantic: stage 1.
      first_level, other_levels: stage 2.
      match_pitch: the source is moved to the pitch of the prompt before any model hears it, as helps where SSL tokens
        carry the voice.
      own_voice: se; what is enhanced is its own prompt for stage 2, which was trained to hear a voice through noise
        (`degraded_prompts`), as helps where SSL tokens do not carry the voice.  In the paper se has no prompt.
      seed: of the noise.  The same source, prompt and seed give the same speech, alone or in a list.
    """

    semantic: StageSettings
    first_level: StageSettings = StageSettings((40,), 0.0, 1.5)
    other_levels: StageSettings = StageSettings((16, 1), 2.5, 1.5)
    match_pitch: bool = False
    own_voice: bool = False
    seed: int = 0

    def __post_init__(self):
        for name in ("first_level", "other_levels"):
            if getattr(self, name).by_mean:
                raise ValueError(f"decoding.{name}.by_mean is true; only stage 1 (semantic) has it")

    @classmethod
    def of(
        cls,
        task: str,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        match_pitch: bool | None = None,
        seed: int = 0,
        preferred: Mapping[str, Any] = MappingProxyType({}),
    ) -> "Settings":
        """The released settings of a task, with other stage-1 steps, guidance or pitch matching (vc) where given.

        `preferred` changes them as a bundle may wish: {stage: {field: value}} for all tasks, then
        {task: {stage: {field: value}}} for one, "match_pitch" for vc and "own_voice" for se.
        """
        if task not in _RELEASED:
            raise ValueError(f"task is {task!r}; use one of {', '.join(_RELEASED)}")
        released = cls(semantic=StageSettings((_RELEASED[task][0],), _RELEASED[task][1], 0.9), seed=seed)
        stages = {name: getattr(released, name) for name in ("semantic", "first_level", "other_levels")}
        if match_pitch is not None and task != "vc":
            raise ValueError(f"match_pitch is for task vc, not {task}")
        preferred = dict(preferred)
        wants_match, wants_own = (_flag(name, preferred.pop(name, False)) for name in ("match_pitch", "own_voice"))
        by_task = {name: preferred.pop(name) for name in _RELEASED if name in preferred}
        for where, wishes in (("decoding", preferred), (f"decoding.{task}", by_task.get(task, {}))):
            for name, changes in _by_name(wishes, where).items():
                if name not in stages:
                    raise ValueError(f"{where} has no stage {name!r}; use {', '.join(stages)}")
                fields = dataclasses.asdict(stages[name]) | dict(_by_name(changes, f"{where}.{name}"))
                stages[name] = from_config_dict(StageSettings, fields, where=f"{where}.{name}")
        asked = {"steps": None if steps is None else (steps,), "guidance": guidance}
        asked = {name: value for name, value in asked.items() if value is not None}
        stages["semantic"] = dataclasses.replace(stages["semantic"], **asked)
        is_matched = task == "vc" and (wants_match if match_pitch is None else match_pitch)
        return dataclasses.replace(released, match_pitch=is_matched, own_voice=task == "se" and wants_own, **stages)

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
    """A speaker's voice, encoded once; made by `Metis.encode_prompt`."""

    wave: Float[np.ndarray, " l"]  # 16 kHz
    semantic: Int[np.ndarray, " t"]
    acoustic: Int[np.ndarray, "u q"]


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

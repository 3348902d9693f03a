"""What a press of a button on the page does, without the page: files and words in, waves out, faults in one line."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path

from metis_jax.audio import files
from metis_jax.audio.files import Wave
from metis_jax.inference.metis import MAXIMUM_PROMPT_SECONDS, Metis
from metis_jax.inference.script import Script
from metis_jax.inference.settings import Prompt, Settings
from metis_jax.inference.voices import Voices

MOST_SECONDS = 600.0  # of a source: minutes of computing on a CPU
MOST_CHARACTERS = 2000  # of a text
_TRANSFORMED = ("se", "tse", "vc")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """One press of a button.

    Attributes:
      task: of `Metis`.
      source: a file, a video for l2s; empty for tts.
      face: of l2s; which of several in the video, from 1 on.
      voice: a recording of the voice, and `voice_words` what it says.
      text, language, speed: what tts says, and how.
      seed, steps: of the noise, and of stage 1; None for the bundle's.
    """

    task: str
    source: str = ""
    face: int = 1
    voice: str = ""
    voice_words: str = ""
    text: str = ""
    language: str = "auto"
    speed: float = 1.0
    seed: int = 0
    steps: int | None = None


@dataclasses.dataclass(frozen=True)
class Made:
    """What came of it; `before` is the recording that it was made of, None where it was none."""

    before: Wave | None
    after: Wave
    name: str


class Studio:
    """The models, the voices, and what a page may ask of them; threads may share one.

    Attributes:
      voices: kept for later.
      tasks: that the bundle serves.
    """

    def __init__(self, metis: Metis, voices: Voices):
        self.metis, self.voices = metis, voices
        self.tasks = tuple(metis.engine.bundle.tasks)
        self._prompt = functools.lru_cache(maxsize=32)(self._encoded)

    def make(self, asked: Asked, progress: Callable[[float], None]) -> Made:
        """Does it; ValueError, one line without folders, for what can not be done.

        `progress` hears shares of 1, and may raise what ends the work.
        """
        try:
            return self._make(asked, progress)
        except (ValueError, OSError) as error:
            message = str(error)
            for place in filter(None, (asked.source, asked.voice)):
                message = message.replace(place, Path(place).name)
            raise ValueError(message) from None

    def _make(self, asked: Asked, progress: Callable[[float], None]) -> Made:
        settings = self.metis.settings(asked.task, steps=asked.steps, seed=asked.seed)
        if asked.task != "tts" and not asked.source:
            raise ValueError(f"there is no {'video' if asked.task == 'l2s' else 'recording'} yet; record or upload one")
        if asked.task not in ("se", "l2s") and not asked.voice:
            raise ValueError("there is no voice yet; record, upload or choose one")
        if asked.task in _TRANSFORMED:
            wave = _source(asked.source)
            prompt = self._prompt(asked.voice) if asked.task != "se" else None
            advance = _Advance(progress, self.metis.planned_steps(wave.seconds, prompt, settings))
            made = self.metis.transform(asked.task, wave, prompt, settings=settings, progress=advance)
            return Made(wave, made.wave, f"{Path(asked.source).stem}.{asked.task}.wav")
        if asked.task == "l2s":
            prompt = self._prompt(asked.voice) if asked.voice else self.metis.no_prompt
            lips = self.metis.read_lips(asked.source, face=asked.face)
            advance = self._advance(progress, settings, self.metis.lip_passes(lips, prompt))
            made = self.metis.lip_read(lips, prompt, settings=settings, progress=advance)
            return Made(None, made.wave, f"{Path(asked.source).stem}.l2s.wav")
        return Made(None, self._said(asked, settings, progress), "said.wav")

    def _said(self, asked: Asked, settings: Settings, progress: Callable[[float], None]) -> Wave:
        if not asked.text.strip():
            raise ValueError("there is no text yet; write what is to be said")
        if len(asked.text) > MOST_CHARACTERS:
            raise ValueError(f"the text has {len(asked.text)} characters; at most {MOST_CHARACTERS} are said at once")
        if not asked.voice_words.strip():
            raise ValueError("the words of the voice are missing; write what its recording says")
        script = Script(text=asked.text, prompt_text=asked.voice_words, language=asked.language, speed=asked.speed)
        prompt = self._prompt(asked.voice)
        plan = self.metis.plan(script, prompt)
        advance = self._advance(progress, settings, len(plan.parts))
        return self.metis.speak(plan, prompt, settings=settings, progress=advance).wave

    def _advance(self, progress: Callable[[float], None], settings: Settings, passes: int) -> "_Advance":
        return _Advance(progress, passes * self.metis.steps_per_pass(settings))

    def _encoded(self, path: str) -> Prompt:
        return self.metis.encode_prompt(files.read_wave(path, maximum_seconds=MAXIMUM_PROMPT_SECONDS))


class _Advance:
    """Numbers of steps to shares of all."""

    def __init__(self, progress: Callable[[float], None], total: int):
        self._progress, self._total, self._done = progress, max(total, 1), 0
        progress(0.0)

    def __call__(self, steps: int) -> None:
        self._done += steps
        self._progress(min(self._done / self._total, 1.0))


def _source(path: str | os.PathLike) -> Wave:
    return files.read_wave(path, maximum_seconds=MOST_SECONDS)

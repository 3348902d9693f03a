"""Through both stages: a source that fits a window in one pass, a longer one window by window, its pieces joined."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any

import numpy as np

from metis_jax.audio.files import Stream, Wave
from metis_jax.audio.waves import fit, resample
from metis_jax.clock import CODEC_HOP, CODEC_RATE, FRAME_RATE, SSL_HOP, SSL_RATE, ssl_frames, ssl_samples
from metis_jax.inference.engine import Engine, Progress
from metis_jax.inference.jobs import AcousticJob, Seed, SemanticJob
from metis_jax.inference.settings import Prompt, Settings, Speech
from metis_jax.inference.windows import Continuation, Window, WindowPlan, faded
from metis_jax.types import Float, Int

OWN_VOICE_FRAMES = 150  # of a source, in which its voice is heard: 3 s, the longest prompt of training


@dataclasses.dataclass(frozen=True)
class Pass:
    """One example, or one window of it, ready for the two stages.

    `own_voice` are acoustic tokens of a source's first frames as they are heard, where these are the prompt of stage 2,
    and `own_semantic` their SSL tokens, or None where they are this pass's first.
    """

    semantic: SemanticJob
    known_acoustic: Int[np.ndarray, "k q"]
    own_voice: Int[np.ndarray, "v q"]
    own_semantic: Int[np.ndarray, " v"] | None = None

    @classmethod
    def behind(cls, voice: Prompt, job: SemanticJob) -> "Pass":
        """What begins with a prompt and has no source of its own."""
        return cls(job, voice.acoustic, voice.acoustic[:0])

    @property
    def is_new(self) -> bool:
        return self.semantic.length > len(self.semantic.known)


class Passes:
    """The stages of an engine over one pass after another; what came before a window stands in front of it."""

    def __init__(self, engine: Engine, windows: WindowPlan):
        self._engine = engine
        self.windows = windows

    def room(self, voice: Prompt, settings: Settings) -> int:
        """Samples of a source at 16 kHz that fit in one window, behind a prompt or its own voice."""
        ahead = len(voice.wave) + (OWN_VOICE_FRAMES * SSL_HOP if settings.own_voice else 0)
        return max(ssl_samples(self.windows.frames) - ahead, ssl_samples(self.windows.least))

    def count(self, seconds: float, voice: Prompt, settings: Settings) -> int:
        """How many a source of `seconds` takes."""
        return self.windows.count(int(seconds * SSL_RATE), samples=self.room(voice, settings), hop=SSL_HOP)

    def of_waves(
        self,
        waves: Sequence[Float[np.ndarray, " _"]],
        voices: Sequence[Prompt],
        settings: Settings,
        *,
        done: Continuation | None = None,
        window: int = 0,
        texts: Sequence[Int[np.ndarray, " _"]] | None = None,
    ) -> list[Pass]:
        """16 kHz waves with their conditions, each behind its prompt and what is done already."""
        done = self._nothing() if done is None else done
        # The reference encodes prompt and source as one wave.
        whole = [np.concatenate([voice.wave, wave]) for voice, wave in zip(voices, waves, strict=True)]
        found = []
        conditions = self._engine.ssl_features(whole)
        # Later windows have the voice of the first one.
        own_voices = self._own_voices(waves) if settings.own_voice and not window else [done.own_voice] * len(whole)
        for condition, voice, own, phones in zip(
            conditions, voices, own_voices, texts or [None] * len(whole), strict=True
        ):
            known = np.concatenate([voice.semantic, done.semantic])
            job = SemanticJob(known, len(condition), seed_of(settings, window), phones=phones, condition=condition)
            found.append(Pass(job, np.concatenate([voice.acoustic, done.acoustic]), own, done.own_semantic))
        return found

    def of_lips(
        self,
        seen: Float[np.ndarray, "t c"],
        voice: Prompt,
        settings: Settings,
        *,
        done: Continuation | None = None,
        window: int = 0,
    ) -> Pass:
        """Lip features at the frame rate, behind a prompt whose lips are not shown and what is done already."""
        done = self._nothing() if done is None else done
        condition = np.concatenate([np.zeros((len(voice.semantic), seen.shape[1]), np.float32), seen])
        known = np.concatenate([voice.semantic, done.semantic])
        job = SemanticJob(known, len(condition), seed_of(settings, window), condition=condition)
        return Pass(job, np.concatenate([voice.acoustic, done.acoustic]), voice.acoustic[:0])

    def lip_windows(self, frames: int, voice: Prompt) -> int:
        """How many windows lip features of so many frames take."""
        return self.windows.count(frames, samples=self.windows.room(len(voice.semantic)), hop=1)

    def lips(
        self, seen: Float[np.ndarray, "t c"], voice: Prompt, settings: Settings, progress: Progress | None
    ) -> Speech:
        """Speech of lip features that are longer than a window."""
        windows = self.windows.cut([seen], samples=self.windows.room(len(voice.semantic)), hop=1)

        def entered(window: Window, done: Continuation, index: int) -> Pass:
            return self.of_lips(window.samples, voice, settings, done=done, window=index)

        whole = Fraction(len(seen), FRAME_RATE)
        pieces = self._windowed("l2s", windows, entered, lambda: whole, settings, progress, contextlib.nullcontext())
        return joined(list(pieces), voice)

    def tokens(
        self, task: str, passes: Sequence[Pass], settings: Settings, progress: Progress | None
    ) -> list[tuple[Int[np.ndarray, " _"], Int[np.ndarray, "_ q"]]]:
        """All SSL tokens and the new acoustic tokens of every pass."""
        semantic = self._engine.semantic_stage(task, [one.semantic for one in passes], settings.semantic, progress)
        jobs = [
            AcousticJob(
                np.concatenate([_said_by_own_voice(one, tokens), tokens]),
                np.concatenate([one.own_voice, one.known_acoustic]),
                (*one.semantic.seed, 1),
            )
            for tokens, one in zip(semantic, passes, strict=True)
        ]
        acoustic = self._engine.acoustic_stage(jobs, settings.first_level, settings.other_levels, progress)
        new = [tokens[len(job.known) :] for tokens, job in zip(acoustic, jobs, strict=True)]
        return list(zip(semantic, new, strict=True))

    def speech(self, task: str, passes: Sequence[Pass], settings: Settings, progress: Progress | None) -> list[Speech]:
        """What each pass says, as long as its frames."""
        decoded = self.tokens(task, passes, settings, progress)
        waves = self._engine.waves([acoustic for _, acoustic in decoded])
        return [
            Speech(Wave(wave, CODEC_RATE), semantic, acoustic)
            for (semantic, acoustic), wave in zip(decoded, waves, strict=True)
        ]

    def waves(self, tokens: Sequence[Int[np.ndarray, "_ q"]]) -> list[Float[np.ndarray, " _"]]:
        """24 kHz waves of acoustic tokens of any length, as if each were decoded at once."""
        windows = [self.windows.cut_tokens(one) for one in tokens]
        waves = iter(self._engine.waves([window for own in windows for window in own]))
        return [self.windows.join_waves([next(waves) for _ in own], hop=CODEC_HOP) for own in windows]

    def stream(
        self,
        task: str,
        heard: Stream,
        voice: Prompt,
        settings: Settings,
        progress: Progress | None,
        *,
        turn: AbstractContextManager[Any],
    ) -> Iterator[Speech]:
        """The pieces of a source of any length at 16 kHz, as `Metis.stream` gives them; `turn` is held within each."""
        windows = self.windows.cut(heard, samples=self.room(voice, settings), hop=SSL_HOP)

        def entered(window: Window, done: Continuation, index: int) -> Pass:
            return self.of_waves([window.samples], [voice], settings, done=done, window=index)[0]

        return self._windowed(task, windows, entered, lambda: heard.seconds, settings, progress, turn)

    def _windowed(
        self,
        task: str,
        windows: Iterator[Window],
        entered: Callable[[Window, Continuation, int], Pass],
        seconds: Callable[[], Fraction],
        settings: Settings,
        progress: Progress | None,
        turn: AbstractContextManager[Any],
    ) -> Iterator[Speech]:
        """One window after another, each with what those before left; `seconds` of the whole are known in the end."""
        done, tail, given = self._nothing(), np.zeros(0, np.float32), 0
        for index, window in enumerate(windows):
            done.enter(window)
            with turn:
                semantic, acoustic = done.semantic[:0], done.acoustic[:0]
                one = entered(window, done, index)
                if one.is_new:
                    [(semantic, acoustic)] = self.tokens(task, [one], settings, progress)
                    done.own_voice, done.own_semantic = one.own_voice, _said_by_own_voice(one, semantic)
                    semantic = semantic[len(one.semantic.known) :]
                begin, end = done.extend(semantic, acoustic, is_last=window.is_last)
                [wave] = self._engine.waves([done.acoustic])
            new = faded(tail, wave[begin * CODEC_HOP : end * CODEC_HOP])
            tail = wave[end * CODEC_HOP : (end + 1) * CODEC_HOP]
            if window.is_last:
                new = fit(new, _codec_samples(seconds()) - given)
            given += len(new)
            yield Speech(Wave(new, CODEC_RATE), semantic, acoustic)

    def _nothing(self) -> Continuation:
        return Continuation(self._engine.num_levels, self.windows.overlap)

    def _own_voices(self, waves: Sequence[Float[np.ndarray, " _"]]) -> list[Int[np.ndarray, "_ q"]]:
        """Acoustic tokens of the first seconds of 16 kHz waves, as they are heard."""
        heard = [resample(wave[: OWN_VOICE_FRAMES * SSL_HOP], SSL_RATE, CODEC_RATE) for wave in waves]
        tokens = self._engine.acoustic_tokens(heard)
        return [own[: ssl_frames(len(wave))] for own, wave in zip(tokens, waves, strict=True)]


def _said_by_own_voice(one: Pass, semantic: Int[np.ndarray, " _"]) -> Int[np.ndarray, " v"]:
    """SSL tokens of a pass's own voice, where `semantic` are those of the pass."""
    return semantic[: len(one.own_voice)] if one.own_semantic is None else one.own_semantic


def seed_of(settings: Settings, window: int) -> Seed:
    return (settings.seed, window)


def as_long_as(seconds: Fraction, speech: Speech) -> Speech:
    """Speech of exactly `seconds`: tokens have whole frames, and a source seldom has."""
    wave = Wave(fit(speech.wave.samples, _codec_samples(seconds)), CODEC_RATE)
    return dataclasses.replace(speech, wave=wave)


def joined(parts: Sequence[Speech], voice: Prompt) -> Speech:
    """The pieces of a stream as one, the SSL tokens of the prompt in front."""
    wave = Wave(np.concatenate([part.wave.samples for part in parts]), CODEC_RATE)
    semantic = np.concatenate([voice.semantic, *(part.semantic for part in parts)])
    return Speech(wave, semantic, np.concatenate([part.acoustic for part in parts]))


def _codec_samples(seconds: Fraction) -> int:
    return round(seconds * CODEC_RATE)

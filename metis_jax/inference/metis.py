"""`Metis`: speech in, or a text or lip features, and speech out.

    metis = Metis.from_pretrained("nano")
    metis.enhance("noisy.wav").save("clean.wav")
    metis.convert("words.wav", "voice.wav", seed=1).save("converted.wav")

Follows `Metis.__call__` of the reference, `models/tts/metis/metis.py`, down to how it counts frames; noise-free it
gives the same tokens.  Sources longer than the 30 s of training go through overlapping windows.  What is made of a
source is as long as it, to the sample; the last milliseconds, which fill no frame, are silence.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, TypeVar, Unpack, overload

import jax
import numpy as np

from metis_jax.audio.files import Stream, Wave
from metis_jax.audio.waves import AudioError
from metis_jax.clock import CODEC_RATE, FRAME_RATE, SSL_RATE
from metis_jax.inference.durations import Durations
from metis_jax.inference.engine import Engine, Progress
from metis_jax.inference.jobs import SemanticJob
from metis_jax.inference.lips import Lips, check_lips, doubled, lip_features, needs_sight, read_lips
from metis_jax.inference.passes import Pass, Passes, as_long_as, joined, seed_of
from metis_jax.inference.programs import keep_programs
from metis_jax.inference.script import Plan, Reader, Script, Utterance
from metis_jax.inference.settings import Changes, Prompt, Settings, Speech
from metis_jax.inference.sounds import Sound, as_stream, as_wave, is_list
from metis_jax.inference.windows import WindowPlan
from metis_jax.text.lexicon import Lexicon
from metis_jax.types import Float, Int, Policy
from metis_jax.weights.bundle import Bundle

MAXIMUM_PROMPT_SECONDS = 20.0

Voice = Sound | Prompt
_Words = Int[np.ndarray, " p"]  # phones
_Method = TypeVar("_Method", bound=Callable[..., Any])


class Decoding(Changes, total=False):
    """What every task takes by keyword: settings (by default those of the bundle), changes of them, progress.

    `progress` is called with numbers of steps that were done.
    """

    settings: Settings | None
    progress: Progress | None


def _in_turn(method: _Method) -> _Method:
    """The method, which waits while another thread is in one of the same object."""

    @functools.wraps(method)
    def waiting(self, *args, **kwargs):
        with self._turn:
            return method(self, *args, **kwargs)

    return waiting


class Metis:
    """The chain of models of a bundle behind one method per task; each takes one example or a list of them.

    A recording is a path, `(samples, rate)` or a `Wave`; a voice is one too, or a `Prompt`, which is encoded once.
    Settings are the bundle's; `steps`, `guidance` and `temperature` of stage 1, and `seed` change them by
    keyword, and `settings=` replaces them.  Wrong input is a ValueError of one line: `AudioError` for recordings,
    `WeightsError` for models, `TextError` for texts.

    Threads may share one object: calls wait for each other, and give what they give alone.  A `stream` waits from piece
    to piece, so several can run side by side; one generator belongs to one thread.
    """

    def __init__(
        self,
        engine: Engine,
        windows: WindowPlan | None = None,
        *,
        lexicon: Lexicon | None = None,
        durations: Durations | None = None,
    ):
        self.engine = engine
        self._passes = Passes(engine, windows or WindowPlan.of(engine.decoding))
        self._lexicon, self._durations = lexicon, durations
        self._reader = functools.cache(self._make_reader)
        self._turn = threading.RLock()

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike = "nano",
        *,
        dtype: str | None = None,
        devices: Sequence[jax.Device] | None = None,
        rows: int | None = None,
        lexicon: Lexicon | None = None,
        durations: str | os.PathLike | None = None,
    ) -> "Metis":
        """Opens a bundle; its components are loaded when first needed.

            metis = Metis.from_pretrained("hub:owner/name@v1")

        Compiled programs are kept under the user's cache folder, unless JAX was told where to keep them, or not to.

        Args:
          name: "nano", the small models of the package; a folder; or hub:OWNER/NAME[@REVISION], a folder of the Hugging
            Face hub with `config.json` and the safetensors files (extra `hub`), read from its cache once it is there.
          dtype: of SSL encoder and generators; by default bfloat16 on accelerators and float32 on CPU.
          devices: that lists are split over; by default the first one alone.
          rows: the largest batch per device; by default 8 on accelerators and 1 on CPU.
          lexicon: how words of yours are pronounced in texts.
          durations: a bundle with a duration predictor, where the first has none or another.
        """
        bundle, timing = Bundle(name), Durations(Bundle(durations)) if durations else None
        keep_programs()
        devices = jax.local_devices()[:1] if devices is None else devices
        platform = devices[0].platform
        dtype = dtype or ("float32" if platform == "cpu" else "bfloat16")
        rows = rows or (1 if platform == "cpu" else 8)
        engine = Engine(bundle, policy=Policy(dtype=dtype), devices=devices, rows=rows)
        return cls(engine, lexicon=lexicon, durations=timing)

    def settings(self, task: str, **changes: Unpack[Changes]) -> Settings:
        """How the bundle wants a task decoded, with the changes that `Settings.changed` takes.

        As in `settings = metis.settings("vc", steps=40)`.
        """
        return Settings.of(task, preferred=self.engine.decoding, **changes)

    def require(self, task: str) -> None:
        """WeightsError unless the bundle has all that a task needs; reads no weights."""
        self.engine.require(task)

    @_in_turn
    def load(self, task: str) -> None:
        """Loads the weights that a task needs, which otherwise happens at its first use."""
        self.engine.load(task)

    @property
    def largest_batch(self) -> int:
        """How many examples of a list are decoded at once, on all devices."""
        return self.engine.largest_batch

    @_in_turn
    def warm_up(self, tasks: Sequence[str] | None = None, *, seconds: float = 5.0, **how: Unpack[Decoding]) -> None:
        """Loads and compiles what tasks need, by doing each of them once on noise, so that no caller waits for it.

            metis.warm_up(tasks=["se", "vc"], seconds=10)

        Args:
          tasks: by default all that the bundle has.
          seconds: of source, text or lips; sources in the same bucket of lengths (`inference/buckets.py`) find all
            programs there, and so do prompts of a second.
          **how: as calls will have it.
        """
        for task in self.engine.bundle.tasks if tasks is None else tasks:
            self.engine.require(task)
            noise = np.random.default_rng(0).normal(0, 0.1, int(max(seconds, 1.0) * SSL_RATE)).astype(np.float32)
            prompt = None if task == "se" else self.encode_prompt((noise[:SSL_RATE], SSL_RATE))
            if task == "tts":
                phones, knows = np.ones(10, np.int32), (self._durations or self.engine.durations) is not None
                part = Utterance(phones, int(seconds * FRAME_RATE), np.arange(10, dtype=np.float32) if knows else None)
                self.speak(Plan((part,), "seconds"), prompt, **how)
            elif task == "l2s":
                width = self.engine.generator_config(task).condition_width
                self.lip_read(np.zeros((int(seconds * FRAME_RATE) // 2, width), np.float32), prompt, **how)
            else:
                self.transform(task, (noise, SSL_RATE), prompt, **how)

    @_in_turn
    def encode_prompt(self, sound: Sound) -> Prompt:
        """The tokens of a prompt of at most 20 seconds.

        As in `voice = metis.encode_prompt("voice.wav")`.
        """
        return self._encoded(sound)

    @_in_turn
    def encode_prompt_waves(self, at_16k: Float[np.ndarray, " l"], at_24k: Float[np.ndarray, " k"]) -> Prompt:
        """`encode_prompt` of a prompt at hand at both rates."""
        [semantic] = self.engine.semantic_tokens(self.engine.ssl_features([at_16k]))
        [acoustic] = self.engine.acoustic_tokens([at_24k])
        return Prompt(at_16k, semantic, acoustic)

    @overload
    def enhance(self, source: Sound, **how: Unpack[Decoding]) -> Speech: ...
    @overload
    def enhance(self, source: Sequence[Sound], **how: Unpack[Decoding]) -> list[Speech]: ...
    def enhance(self, source, **how: Unpack[Decoding]):
        """Speech enhancement.

        As in `metis.enhance("noisy.wav", seed=1).save("clean.wav")`.
        """
        return self.transform("se", source, **how)

    @overload
    def extract(
        self, source: Sound, prompt: Voice, *, phones: _Words | None = None, **how: Unpack[Decoding]
    ) -> Speech: ...
    @overload
    def extract(
        self,
        source: Sequence[Sound],
        prompt: Voice | Sequence[Voice],
        *,
        phones: Sequence[_Words] | None = None,
        **how: Unpack[Decoding],
    ) -> list[Speech]: ...
    def extract(self, source, prompt, *, phones=None, **how: Unpack[Decoding]):
        """Target speaker extraction: what the speaker of the prompt says in a mixture.

            metis.extract("mixture.wav", "voice.wav").save("speaker.wav")

        Where the words are known, their `phones` (from `phones_of`) guide it; empty ones stand for none.
        """
        return self.transform("tse", source, prompt, phones=phones, **how)

    @overload
    def convert(self, source: Sound, prompt: Voice, **how: Unpack[Decoding]) -> Speech: ...
    @overload
    def convert(
        self, source: Sequence[Sound], prompt: Voice | Sequence[Voice], **how: Unpack[Decoding]
    ) -> list[Speech]: ...
    def convert(self, source, prompt, **how: Unpack[Decoding]):
        """Voice conversion: the source's words in the voice of the prompt.

        As in `first, second = metis.convert(["a.wav", "b.wav"], metis.encode_prompt("voice.wav"), steps=20)`.
        """
        return self.transform("vc", source, prompt, **how)

    @overload
    def transform(
        self,
        task: str,
        source: Sound,
        prompt: Voice | None = None,
        *,
        phones: _Words | None = None,
        **how: Unpack[Decoding],
    ) -> Speech: ...
    @overload
    def transform(
        self,
        task: str,
        source: Sequence[Sound],
        prompt: Voice | Sequence[Voice] | None = None,
        *,
        phones: Sequence[_Words] | None = None,
        **how: Unpack[Decoding],
    ) -> list[Speech]: ...
    @_in_turn
    def transform(self, task, source, prompt=None, *, phones=None, **how: Unpack[Decoding]):
        """A speech-to-speech task by its name; sources that fit one window are decoded in batches.

        As in `metis.transform("se", ["a.wav", "b.wav"])`.
        """
        settings, progress = self._how(task, **how)
        is_one = not is_list(source)
        texts = [phones] if isinstance(phones, np.ndarray) else phones
        sources = [as_wave(one, "source") for one in ([source] if is_one else source)]
        waves = [wave.at(SSL_RATE) for wave in sources]
        seconds = [Fraction(len(wave.samples), wave.rate) for wave in sources]
        voices = self._voices(prompt, len(waves))
        short = [i for i, wave in enumerate(waves) if len(wave) <= self._passes.room(voices[i], settings)]
        if texts is not None and len(short) < len(waves):
            raise ValueError(
                f"a source with a text must fit one pass of {self._passes.windows.frames / FRAME_RATE:g} s"
            )
        own = [waves[i] for i in short], [voices[i] for i in short]
        passes = self._passes.of_waves(*own, settings, texts=texts)
        speech = dict(zip(short, self._passes.speech(task, passes, settings, progress), strict=True))
        speech = {i: as_long_as(seconds[i], one) for i, one in speech.items()}
        for i in set(range(len(waves))) - set(short):
            source = Stream([(waves[i], seconds[i])])
            parts = self.stream(task, source, voices[i], settings=settings, progress=progress)
            speech[i] = joined(list(parts), voices[i])
        return speech[0] if is_one else [speech[i] for i in range(len(waves))]

    @overload
    def speak(self, script: Script | Plan, prompt: Voice, **how: Unpack[Decoding]) -> Speech: ...
    @overload
    def speak(
        self, script: Sequence[Script | Plan], prompt: Voice | Sequence[Voice], **how: Unpack[Decoding]
    ) -> list[Speech]: ...
    @_in_turn
    def speak(self, script, prompt, **how: Unpack[Decoding]):
        """Text to speech: a script, or a plan of one, in the voice of the prompt.

            metis.speak(Script(text="Good day.", prompt_text="Good morning."), "voice.wav").save("said.wav")

        A long text is said in parts, each with the prompt in front; all tokens are turned into one wave.
        """
        settings, progress = self._how("tts", **how)
        is_one = not is_list(script)
        scripts = [script] if is_one else list(script)
        for one in scripts:
            if not isinstance(one, Script | Plan):
                raise ValueError(f"script is {one!r:.80}; expected a Script, as Script(text=…, prompt_text=…)")
        voices = self._voices(prompt, len(scripts))
        plans = [
            one if isinstance(one, Plan) else self.plan(one, voice) for one, voice in zip(scripts, voices, strict=True)
        ]
        passes = []
        for plan, voice in zip(plans, voices, strict=True):
            for index, part in enumerate(plan.parts):
                length = len(voice.semantic) + part.frames
                job = SemanticJob(
                    voice.semantic,
                    length,
                    seed_of(settings, index),
                    phones=part.phones,
                    phone_positions=part.positions,
                )
                passes.append(Pass.behind(voice, job))
        decoded = iter(self._passes.tokens("tts", passes, settings, progress))
        speech = []
        for plan, voice in zip(plans, voices, strict=True):
            own = [next(decoded) for _ in plan.parts]
            semantic = [voice.semantic, *(tokens[len(voice.semantic) :] for tokens, _ in own)]
            acoustic = np.concatenate([tokens for _, tokens in own])
            speech.append((np.concatenate(semantic), acoustic, plan.rule))
        waves = self._passes.waves([acoustic for _, acoustic, _ in speech])
        found = [Speech(Wave(wave, CODEC_RATE), *rest) for wave, rest in zip(waves, speech, strict=True)]
        return found[0] if is_one else found

    @_in_turn
    def plan(self, script: Script, prompt: Prompt) -> Plan:
        """What `speak` will do for a script: ValueError, before any decoding, for one that makes no sense."""
        frames = len(prompt.semantic)
        return self._reader("tts").plan(script, frames, self._passes.windows.room(frames))

    def needs_prompt_words(self, task: str) -> bool:
        """Whether a text that guides a task has to begin with the words of the prompt.

        A generator that serves text to speech as well (Omni) has learned texts from there, where they do.
        """
        return self.engine.has_generator_of(task, "tts")

    @_in_turn
    def phones_of(self, task: str, script: Script, prompt: Prompt) -> Int[np.ndarray, " p"]:
        """Phones of a text that guides a speech-to-speech task, behind the prompt's where the script has them."""
        if self.needs_prompt_words(task) and not (script.prompt_text.strip() or script.prompt_phones):
            raise ValueError(f"prompt_text is missing: the generator of {task} knows texts from tts; give it")
        return self._reader(task).guide(script, len(prompt.semantic))

    @overload
    def lip_read(self, lips: Lips, prompt: Voice | None = None, **how: Unpack[Decoding]) -> Speech: ...
    @overload
    def lip_read(
        self, lips: Sequence[Lips], prompt: Voice | Sequence[Voice] | None = None, **how: Unpack[Decoding]
    ) -> list[Speech]: ...
    @_in_turn
    def lip_read(self, lips, prompt=None, **how: Unpack[Decoding]):
        """Lip to speech, from a video, grey mouth crops or features at 25 a second, or a file of them (`lips.py`).

        As in `metis.lip_read("face.mp4", "voice.wav").save("said.wav")`.
        """
        settings, progress = self._how("l2s", **how)
        is_one = not is_list(lips)
        given = [lips] if is_one else list(lips)
        voices = self._voices(prompt, len(given))
        read = [self.read_lips(one) for one in given]
        seen = list(zip(map(doubled, lip_features(self.engine, read)), voices, strict=True))
        # What fits a window shares batches; what does not goes by itself.
        short = [i for i, (features, voice) in enumerate(seen) if self._passes.lip_windows(len(features), voice) == 1]
        passes = [self._passes.of_lips(*seen[i], settings) for i in short]
        speech = dict(zip(short, self._passes.speech("l2s", passes, settings, progress), strict=True))
        for i, (features, voice) in enumerate(seen):
            if i not in speech:
                speech[i] = self._passes.lips(features, voice, settings, progress)
        return speech[0] if is_one else [speech[i] for i in range(len(seen))]

    def read_lips(self, lips: Any, *, face: int = 1) -> np.ndarray:
        """Features, or mouth crops, that `lip_read` takes; ValueError where it can not.

        Of a video with several faces `face` is which one, see `video.mouths.follow`.
        """
        if needs_sight(lips):
            self.engine.require_sight()
        read = read_lips(lips, face=face)
        check_lips(read, width=self.engine.generator_config("l2s").condition_width)
        return read

    def lip_passes(self, lips: np.ndarray, prompt: Prompt) -> int:
        """How many passes `progress` hears of for lips that were read."""
        return self._passes.lip_windows(2 * len(lips), prompt)

    def stream(
        self,
        task: str,
        source: Sound | Stream | Iterable[Float[np.ndarray, " _"]],
        prompt: Voice | None = None,
        **how: Unpack[Decoding],
    ) -> Iterator[Speech]:
        """A speech-to-speech task on a source of any length, in pieces, in memory that does not grow.

            for piece in metis.stream("se", "hours.flac"):
                play(piece.wave.samples)

        The source is a recording, or an iterable of its samples at 16 kHz, in arrays of any length.  The pieces, one
        for each window of 30 s, follow each other without a seam.  Their SSL tokens leave out the prompt's.
        """
        settings, progress = self._how(task, **how)
        [voice] = self._voices(prompt, 1)
        yield from self._passes.stream(task, as_stream(source), voice, settings, progress, turn=self._turn)

    def planned_steps(self, seconds: float, prompt: Prompt | None, settings: Settings) -> int:
        """How many steps `progress` will hear of for a source of `seconds`."""
        return self._passes.count(seconds, prompt or self.no_prompt, settings) * self.steps_per_pass(settings)

    def steps_per_pass(self, settings: Settings) -> int:
        """How many steps `progress` will hear of for one pass: a source that fits a window, a part of a plan, lips."""
        return settings.total_steps(self.engine.num_levels)

    def fits_one_window(self, seconds: float, prompt: Prompt | None, settings: Settings) -> bool:
        """Whether a source is short enough to be decoded as a whole, and so in a batch with others."""
        return seconds * SSL_RATE <= self._passes.room(prompt or self.no_prompt, settings)

    @property
    def no_prompt(self) -> Prompt:
        levels = self.engine.num_levels
        return Prompt(np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros((0, levels), np.int32))

    def _how(self, task: str, *, settings: Any = None, progress: Progress | None = None, **changes: Any):
        """The settings and the progress that `Decoding` stands for."""
        if not isinstance(settings, Settings | None):
            raise ValueError(f"settings is {settings!r:.80}; expected Settings, as from metis.settings({task!r})")
        return (self.settings(task, **changes) if settings is None else settings.changed(**changes)), progress

    def _encoded(self, prompt: Any) -> Prompt:
        if isinstance(prompt, Prompt):
            return prompt
        wave = as_wave(prompt, "prompt", maximum_seconds=MAXIMUM_PROMPT_SECONDS)
        return self.encode_prompt_waves(wave.at(SSL_RATE), wave.at(CODEC_RATE))

    def _voices(self, prompt: Any, n: int) -> list[Prompt]:
        """The encoded prompts of `n` examples, of which each is encoded once."""
        if prompt is None:
            return [self.no_prompt] * n
        given = list(prompt) if is_list(prompt) else [prompt] * n
        if len(given) != n:
            raise ValueError(f"prompts are {len(given)} for {n} examples; give one, or one for each")
        encoded = {id(one): self._encoded(one) for one in given}
        for voice in encoded.values():
            if voice.acoustic.ndim != 2 or voice.acoustic.shape[1] != self.engine.num_levels:
                found = f"acoustic tokens of shape {list(voice.acoustic.shape)}"
                raise AudioError(
                    f"prompt: has {found}, not [frames, {self.engine.num_levels}]; encode it with this model"
                )
        return [encoded[id(one)] for one in given]

    def _make_reader(self, task: str) -> Reader:
        vocabulary = self.engine.generator_config(task).phone_vocabulary
        return Reader(vocabulary, self._durations or self.engine.durations, self._lexicon)

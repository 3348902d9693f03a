"""Every chosen measure of every example: a number, or the reason why there is none.

Nothing here is invented: a package that is not installed, a partner that was not given, a wave that is too short or
silent each leave a reason in the table.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from metis_jax.audio.files import read_wave
from metis_jax.evaluation import quality, signals, words
from metis_jax.evaluation.errors import EvaluationError, Unmeasurable
from metis_jax.evaluation.pairing import Example
from metis_jax.evaluation.recognizer import Recognizer
from metis_jax.evaluation.speakers import SpeakerEncoder, similarity, speaker_encoder
from metis_jax.faults import in_one_line

RATE = 16_000


@dataclasses.dataclass(frozen=True)
class Measure:
    """One row of the table.

    Attributes:
      key: its name in CSV and JSON.
      title: its name in the table; "%" at the end means that it is shown times 100.
      better: "higher", "lower" or "" where neither is.
    """

    key: str
    title: str
    better: str

    @property
    def scale(self) -> float:
        return 100.0 if self.title.endswith("%") else 1.0


@dataclasses.dataclass(frozen=True)
class Value:
    """A measure of one example.  `weight` is what it counts in the mean: the words, for a word error rate."""

    value: float | None
    weight: int | float = 1
    reason: str = ""


# What --metrics may name, and the measures that each fills in.
GROUPS: dict[str, tuple[Measure, ...]] = {
    "wer": (Measure("wer", "WER %", "lower"),),
    "cer": (Measure("cer", "CER %", "lower"),),
    "dwer": (Measure("dwer", "dWER %", "lower"),),
    "similarity": (
        Measure("sim_reference", "similarity to reference", "higher"),
        Measure("sim_prompt", "similarity to prompt", "higher"),
        Measure("sim_source", "similarity to source", ""),
        Measure("sim_interferer", "similarity to interferer", "lower"),
        Measure("target_over_source", "target above source %", "higher"),
        Measure("target_over_interferer", "target above interferer %", "higher"),
    ),
    "dnsmos": (
        Measure("dnsmos_sig", "DNSMOS SIG", "higher"),
        Measure("dnsmos_bak", "DNSMOS BAK", "higher"),
        Measure("dnsmos_ovrl", "DNSMOS OVRL", "higher"),
    ),
    "distillmos": (Measure("distillmos", "DistillMOS", "higher"),),
    "pesq": (Measure("pesq", "PESQ (wide band)", "higher"),),
    "stoi": (Measure("stoi", "STOI", "higher"),),
    "si_sdr": (Measure("si_sdr", "SI-SDR, dB", "higher"),),
    "mel": (Measure("mel", "mel distance, dB", "lower"),),
    "duration": (Measure("duration", "duration error %", "lower"),),
    "f0": (Measure("f0", "F0 error, semitones", "lower"),),
}
# pYIN takes longer than all others together, and DistillMOS needs torch.
DEFAULT_GROUPS = tuple(name for name in GROUPS if name not in ("f0", "distillmos"))

_ROLE_OF = {
    "sim_prompt": "prompt",
    "sim_source": "source",
    "sim_interferer": "interferer",
    "target_over_source": "source",
    "target_over_interferer": "interferer",
}


_ERROR_RATES = ("wer", "cer", "dwer")


def measures_of(
    groups: Iterable[str], roles: Iterable[str], *, language: str = "en", is_pooled: bool = True
) -> list[Measure]:
    """The rows for the chosen groups; similarities to what no flag was given for are not asked for.

    The titles of error rates say how they are counted.  Where WER counts characters, CER would be the same row again.
    """
    groups, roles = list(groups), set(roles)
    unknown = [name for name in groups if name not in GROUPS]
    if unknown:
        raise EvaluationError(f"--metrics: {unknown[0]!r} is unknown; known are {', '.join(GROUPS)}")
    of_characters = language in words.CHARACTER_LANGUAGES
    if of_characters and "wer" in groups:
        groups = [name for name in groups if name != "cer"]
    how = "pooled" if is_pooled else "mean of utterances"
    chosen = []
    for measure in (measure for name in GROUPS if name in groups for measure in GROUPS[name]):
        if measure.key in _ERROR_RATES:
            counted = f"characters, {how}" if of_characters and measure.key != "cer" else how
            measure = dataclasses.replace(measure, title=f"{measure.title.removesuffix(' %')} ({counted}) %")
        if _ROLE_OF.get(measure.key) is None or _ROLE_OF[measure.key] in roles:
            chosen.append(measure)
    return chosen


class Evaluator:
    """Measures examples.  Models are loaded when first needed; texts and voices are kept, for partners come again.

    Attributes:
      recognizer_folder: a CTranslate2 Whisper folder, or None for the one in the `eval` extra.
      language: of the speech, as Whisper names it.
      speaker_model: a key of `speakers.ENCODERS`, or an ONNX file.
      is_pooled: whether an utterance counts in error rates by its words, or each the same.
    """

    def __init__(
        self,
        *,
        recognizer_folder: str | None = None,
        language: str = "en",
        speaker_model: str = "voicefilter",
        is_pooled: bool = True,
    ):
        self.recognizer_folder = recognizer_folder
        self.language = language
        self.is_pooled = is_pooled
        self.speaker_model = speaker_model
        self._samples: dict[Path, Any] = {}
        self._texts: dict[Path, Any] = {}
        self._voices: dict[Path, Any] = {}
        self._models: dict[str, Any] = {}

    def measure(self, example: Example, measures: Iterable[Measure]) -> dict[str, Value]:
        """All measures of one example, by key."""
        results: dict[str, Value] = {}
        for key in (measure.key for measure in measures):
            if key in results:
                continue
            try:
                results.update(_COMPUTERS[key](self, example, key))
            except MemoryError:
                raise
            except Exception as error:  # one example never ends a table
                results[key] = Value(None, reason=in_one_line(error))
        self._samples.clear()
        return results

    def describe(self) -> dict[str, str]:
        """The models that were used, for the report."""
        return {kind: model.name for kind, model in self._models.items() if not isinstance(model, Exception)}

    def samples(self, path: Path) -> Float[np.ndarray, " l"]:
        return _once(self._samples, path, lambda: read_wave(path).at(RATE))

    def text(self, path: Path) -> str:
        recognizer: Recognizer = _once(
            self._models, "recognizer", lambda: Recognizer(self.recognizer_folder, language=self.language)
        )
        return _once(self._texts, path, lambda: recognizer.transcribe(self.samples(path), RATE))

    def voice(self, path: Path) -> Float[np.ndarray, " d"]:
        encoder: SpeakerEncoder = _once(self._models, "speaker_encoder", lambda: speaker_encoder(self.speaker_model))
        return _once(self._voices, path, lambda: encoder.embed(self.samples(path), RATE))


def _once(cache: dict[Any, Any], key: object, compute: Callable[[], Any]) -> Any:
    """The cached result, or the cached refusal."""
    if key not in cache:
        try:
            cache[key] = compute()
        except MemoryError:
            raise
        except Exception as error:
            cache[key] = error
    if isinstance(cache[key], Exception):
        raise cache[key]
    return cache[key]


def _partner(example: Example, role: str) -> Path:
    path = getattr(example, role)
    if path is None:
        raise Unmeasurable(f"no {role} given")
    return path


def _aligned(evaluator: Evaluator, example: Example) -> tuple[Float[np.ndarray, " l"], Float[np.ndarray, " l"]]:
    reference = evaluator.samples(_partner(example, "reference"))
    return signals.aligned(reference, evaluator.samples(example.output), RATE)


def _words(evaluator: Evaluator, example: Example, key: str) -> dict[str, Value]:
    if example.text is None:
        raise Unmeasurable("no text given")
    count = words.word_errors if key == "wer" else words.character_errors
    return {key: _error_rate(evaluator, count, example.text, evaluator.text(example.output))}


def _error_rate(evaluator: Evaluator, count: Callable[..., words.ErrorRate], reference: str, hypothesis: str) -> Value:
    errors = count(reference, hypothesis, language=evaluator.language)
    return Value(errors.rate, errors.length if evaluator.is_pooled else 1)


def _dwer(evaluator: Evaluator, example: Example, key: str) -> dict[str, Value]:
    heard = evaluator.text(_partner(example, "reference"))
    if not words.normalize(heard):
        raise Unmeasurable("the recogniser hears no words in the reference")
    return {key: _error_rate(evaluator, words.word_errors, heard, evaluator.text(example.output))}


def _similarity(evaluator: Evaluator, example: Example, key: str) -> dict[str, Value]:
    partner = _partner(example, key.removeprefix("sim_"))
    return {key: Value(similarity(evaluator.voice(example.output), evaluator.voice(partner)))}


def _nearer_target(evaluator: Evaluator, example: Example, key: str) -> dict[str, Value]:
    """Whether the output's voice is nearer to the target's (the prompt if there is one, else the reference)."""
    target = _partner(example, "prompt" if example.prompt is not None else "reference")
    other = _partner(example, key.removeprefix("target_over_"))
    voice = evaluator.voice(example.output)
    return {key: Value(float(similarity(voice, evaluator.voice(target)) > similarity(voice, evaluator.voice(other))))}


def _dnsmos(evaluator: Evaluator, example: Example, key: str) -> dict[str, Value]:
    opinion = quality.dnsmos(evaluator.samples(example.output), RATE)
    return {
        "dnsmos_sig": Value(opinion.signal),
        "dnsmos_bak": Value(opinion.background),
        "dnsmos_ovrl": Value(opinion.overall),
    }


def _distillmos(evaluator: Evaluator, example: Example, key: str) -> dict[str, Value]:
    return {key: Value(quality.distillmos(evaluator.samples(example.output), RATE))}


def _with_rate(measure: Callable[..., float], evaluator: Evaluator, example: Example, key: str) -> dict[str, Value]:
    return {key: Value(measure(*_aligned(evaluator, example), RATE))}


def _si_sdr(evaluator: Evaluator, example: Example, key: str) -> dict[str, Value]:
    return {key: Value(signals.si_sdr(*_aligned(evaluator, example)))}


def _duration(evaluator: Evaluator, example: Example, key: str) -> dict[str, Value]:
    reference = evaluator.samples(_partner(example, "reference"))
    return {key: Value(signals.duration_error(reference, evaluator.samples(example.output)))}


# What computes each measure; a function may fill in several at once.
_COMPUTERS: Mapping[str, Callable[[Evaluator, Example, str], dict[str, Value]]] = {
    "wer": _words,
    "cer": _words,
    "dwer": _dwer,
    "sim_reference": _similarity,
    "sim_prompt": _similarity,
    "sim_source": _similarity,
    "sim_interferer": _similarity,
    "target_over_source": _nearer_target,
    "target_over_interferer": _nearer_target,
    "dnsmos_sig": _dnsmos,
    "dnsmos_bak": _dnsmos,
    "dnsmos_ovrl": _dnsmos,
    "distillmos": _distillmos,
    "pesq": functools.partial(_with_rate, signals.pesq),
    "stoi": functools.partial(_with_rate, signals.stoi),
    "si_sdr": _si_sdr,
    "mel": functools.partial(_with_rate, signals.mel_distance),
    "duration": _duration,
    "f0": functools.partial(_with_rate, signals.f0_error),
}

"""A recording as a caller may give it: a path, samples with their rate, or a `Wave`; one of them, or a list."""

import numbers
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from metis_jax.audio.files import Stream, Wave, check_wave, read_wave, stream_wave
from metis_jax.audio.waves import AudioError
from metis_jax.clock import SSL_RATE
from metis_jax.types import Float

Sound: TypeAlias = str | os.PathLike | Wave | tuple[np.ndarray, int]

_FORMS = "a path, (samples, rate) or a Wave"
_MOST_RATE = 2**31 - 1


def as_wave(sound: Any, name: str, *, maximum_seconds: float = float("inf")) -> Wave:
    """The recording that a `Sound` is; AudioError for what is none, called `name` where it has no name of its own.

    Samples may be floats from -1 to 1, or signed integers of full scale.
    """
    if isinstance(sound, str | os.PathLike):
        return read_wave(sound, maximum_seconds=maximum_seconds)
    if isinstance(sound, Wave):
        sound = (sound.samples, sound.rate)
    if isinstance(sound, np.ndarray):
        raise AudioError(f"{name}: an array says no rate; give (samples, rate), as (x, 16000)")
    if not (isinstance(sound, tuple) and len(sound) == 2):
        raise AudioError(f"{name}: is of type {type(sound).__name__}; give {_FORMS}")
    samples, rate = np.asarray(sound[0]), sound[1]
    if not isinstance(rate, numbers.Real) or not 0 < rate <= _MOST_RATE or rate != int(rate):
        raise AudioError(f"{name}: its rate is {rate!r}; give whole samples per second")
    if samples.dtype.kind not in "fi":
        raise AudioError(f"{name}: its samples are of type {samples.dtype}; give floats or signed integers")
    if samples.ndim != 1:
        raise AudioError(f"{name}: samples have shape {samples.shape}; mix channels down to one axis")
    full = 1 if samples.dtype.kind == "f" else -float(np.iinfo(samples.dtype).min)
    wave = check_wave(Wave((samples / full).astype(np.float32), int(rate)), name)
    if wave.seconds > maximum_seconds:
        raise AudioError(f"{name}: {wave.seconds:.1f} s long; at most {maximum_seconds:g} s are allowed")
    return wave


def is_list(given: Any) -> bool:
    """Whether several were given: a list, or a tuple that is not (samples, rate)."""
    is_pair = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], numbers.Real)
    return isinstance(given, Sequence) and not isinstance(given, str) and not is_pair


def as_stream(source: Sound | Stream | Iterable[Float[np.ndarray, " _"]]) -> Stream:
    """A recording, or its samples at 16 kHz in arrays of any length, as a stream at 16 kHz."""
    if isinstance(source, Stream):
        return source
    if isinstance(source, str | os.PathLike):
        return stream_wave(source, SSL_RATE)
    if isinstance(source, Wave) or (isinstance(source, tuple) and not is_list(source)):
        wave = as_wave(source, "source")
        return Stream([(wave.at(SSL_RATE), Fraction(len(wave.samples), wave.rate))])
    return Stream((one, Fraction(len(one), SSL_RATE)) for one in source)

"""Speech-like records made from nothing: for quick tests of a trainer, and for machines without a corpus.

A record is a train of glottal pulses with a wandering pitch, through three moving resonances, with pauses.  A speaker
has a pitch and resonances of their own.  The arrays that other commands would add are random, but repeat with a period
of a few frames, so that a masked model has something to learn.
"""

import io
import pathlib

import numpy as np
import soundfile
from jaxtyping import Float
from scipy.signal import lfilter

from metis_jax.clock import CODEC_RATE, FRAME_RATE
from metis_jax.data.corpus.records import Record
from metis_jax.data.corpus.shards import shard_name, write_shard


def synthetic_wave(rng: np.random.Generator, seconds: float, *, pitch: float, size: float) -> Float[np.ndarray, " l"]:
    """A voice of mean `pitch` (hertz) whose resonances lie at `size` times the usual places."""
    length = int(seconds * CODEC_RATE)
    syllables = max(2, int(seconds * 4))
    at = np.arange(length) / length * (syllables - 1)

    def moving(low: float, high: float) -> np.ndarray:
        return np.interp(at, np.arange(syllables), rng.uniform(low, high, syllables))

    phase = np.cumsum(pitch * moving(0.85, 1.2)) / CODEC_RATE
    pulses = (np.diff(np.floor(phase), prepend=0) > 0).astype(np.float64) + 0.01 * rng.standard_normal(length)
    wave = np.zeros(length)
    block = CODEC_RATE // 40
    tracks = [moving(*span) * size for span in ((300.0, 800.0), (900.0, 2200.0), (2300.0, 3200.0))]
    for track in tracks:
        state = np.zeros(2)
        for start in range(0, length, block):
            radius, angle = 0.98, 2 * np.pi * track[start] / CODEC_RATE
            part, state = lfilter(
                [1 - radius], [1, -2 * radius * np.cos(angle), radius**2], pulses[start : start + block], zi=state
            )
            wave[start : start + block] += part
    loud = np.interp(at, np.arange(syllables), rng.choice([0.05, 1.0], syllables, p=[0.2, 0.8]))
    wave *= loud
    return (0.5 * wave / max(np.abs(wave).max(), 1e-9)).astype(np.float32)


def synthetic_mouth(wave: np.ndarray, pictures: int, size: int = 96) -> np.ndarray:
    """Pictures [u, s, s] uint8 of a mouth, 25 a second, that is as open as a wave is loud."""
    hop = CODEC_RATE // 25
    heard = np.pad(wave, (0, max(0, pictures * hop - len(wave))))[: pictures * hop].reshape(pictures, hop)
    loud = np.sqrt(np.mean(heard**2, axis=1))
    y, x = np.mgrid[:size, :size] / (size / 2) - 1
    open_by = 0.1 + 0.5 * (loud / max(loud.max(), 1e-9))[:, None, None]
    inside = (x / 0.6) ** 2 + (y / open_by) ** 2 < 1
    return np.where(inside, 40, 170).astype(np.uint8)


def synthetic_record(
    index: int,
    seed: int,
    *,
    kind: str = "speech",
    seconds: tuple[float, float] = (1.0, 1.9),
    codebook: int = 128,
    levels: int = 5,
    acoustic_codebook: int = 64,
    visual_width: int = 64,
    mouths: bool = False,
) -> Record:
    """Record number `index`; eight voices, in turn.  `kind` is "speech", "noise" or "rir"."""
    rng = np.random.default_rng((seed, index))
    voice = index % 8
    length = float(rng.uniform(*seconds))
    arrays: dict[str, np.ndarray] = {}
    if kind == "speech":
        wave = synthetic_wave(rng, length, pitch=90.0 + 20.0 * voice, size=0.85 + 0.05 * voice)
        frames = int(len(wave) / CODEC_RATE * FRAME_RATE) - 1
        period = np.arange(frames) % 8
        arrays = {
            "ssl_tokens": rng.integers(0, codebook, 8)[period].astype(np.int32),
            "acoustic_tokens": rng.integers(0, acoustic_codebook, (8, levels))[period].astype(np.int32),
            "phones": rng.integers(1, 64, max(3, frames // 6)).astype(np.int32),
            "visual_features": rng.standard_normal((frames // 2 + 1, visual_width)).astype(np.float32),
        }
        if mouths:
            arrays["mouth_crops"] = synthetic_mouth(wave, frames // 2 + 1)
    elif kind == "noise":
        wave = (0.1 * rng.standard_normal(int(length * CODEC_RATE))).astype(np.float32)
    else:
        decay = np.exp(-np.arange(CODEC_RATE // 4) / (0.05 * CODEC_RATE))
        wave = (decay * rng.standard_normal(len(decay))).astype(np.float32)
        wave[0] = 1.0
        wave /= np.abs(wave).max()
    audio = io.BytesIO()
    soundfile.write(audio, wave, CODEC_RATE, format="FLAC", subtype="PCM_16")
    return Record(
        id=f"{kind}-{index}",
        audio=audio.getvalue(),
        sample_rate=CODEC_RATE,
        samples=len(wave),
        kind=kind,
        text="a synthetic sentence" if kind == "speech" else "",
        speaker=f"voice-{voice}" if kind == "speech" else "",
        held_out=kind == "speech" and voice == 7,
        language="en" if kind == "speech" else "",
        license="CC0",
        source="synthetic",
        arrays=arrays,
    )


def write_synthetic_shards(folder: pathlib.Path, count: int, seed: int, **options: int) -> None:
    """`count` voices, and some noises and rooms, as one shard; does nothing where it is there already.

    `options` are those of `synthetic_record`.
    """
    path = folder / shard_name(0, 1)
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    records = [synthetic_record(index, seed, **options) for index in range(count)]
    for kind in ("noise", "rir"):
        records += [synthetic_record(index, seed, kind=kind) for index in range(4)]
    write_shard(path, records)

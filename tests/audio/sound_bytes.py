"""Sound files with headers that say too little, too much or nothing, made from whole ones."""

import io

import numpy as np
import soundfile

RATE = 16_000


def encoded(wave: np.ndarray, kind: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def speechlike(seconds: float, rate: int = RATE) -> np.ndarray:
    """Half of it nearly silent, half loud and noisy, so that encoders of a variable rate vary it."""
    noise = np.random.default_rng(0).standard_normal(int(seconds * rate))
    noise[: len(noise) // 2] *= 1e-3
    return 0.2 * np.clip(noise, -3, 3)


def variable_mp3(wave: np.ndarray, rate: int = RATE) -> bytes:
    """MP3 of a variable rate, with its table of contents."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", rate, 1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
    ) as file:
        file.write(wave)
    return buffer.getvalue()


def first_mp3_frame(data: bytes) -> int:
    """The bytes of the first frame of an MP3 of version 2 at 16 kHz, which begins with it."""
    kilobits = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)[data[2] >> 4]
    return 72_000 * kilobits // RATE + (data[2] >> 1 & 1)


def flac_that_counts(data: bytes, frames: int) -> bytes:
    """A FLAC whose header tells of another number of samples."""
    counts = int.from_bytes(data[18:26], "big") & ~(2**36 - 1) | frames
    return data[:18] + counts.to_bytes(8, "big") + data[26:]


def without_table(data: bytes) -> bytes:
    """An MP3 as written to a pipe: the first frame, with the table of contents, is not there."""
    assert b"Xing" in data[:64] or b"Info" in data[:64]
    return data[first_mp3_frame(data) :]


def flac_of_unknown_length(data: bytes) -> bytes:
    """A FLAC as written to a pipe: the 36 bits that count the samples are zero."""
    return data[:21] + bytes([data[21] & 0xF0]) + bytes(4) + data[26:]


def wav_of_a_crash(data: bytes) -> bytes:
    """A WAV whose recorder did not come to write the two lengths."""
    place = data.index(b"data") + 4
    return data[:4] + bytes(4) + data[8:place] + bytes(4) + data[place + 4 :]

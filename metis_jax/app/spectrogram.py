"""A wave as a picture for a page: time from left to right, 0 to 12 kHz from below, loud parts bright."""

import base64
import html

import numpy as np

from metis_jax.audio.files import Wave
from metis_jax.clock import CODEC_RATE
from metis_jax.types import Float, UInt8
from metis_jax.video.sheet import png

_WINDOW = 512  # samples of 24 kHz; half of it, less one, is the height
_MOST_COLUMNS = 900
_RANGE_DB = 80.0
# From silence to the loudest; black to light yellow, of rising lightness, so that it reads without colours too.
_COLOURS = np.array([[0, 0, 4], [60, 15, 110], [150, 40, 125], [225, 85, 95], [252, 165, 110], [252, 250, 200]])


def loudness(wave: Wave) -> Float[np.ndarray, "f t"]:
    """From 0 to 1, the highest band first: decibels below the loudest."""
    samples = wave.at(CODEC_RATE)
    hop = max(_WINDOW // 4, -(-len(samples) // _MOST_COLUMNS))
    padded = np.pad(samples, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1)) ** 2
    decibels = 10 * np.log10(np.maximum(power[:, 1:], 1e-10))
    return np.clip((decibels - decibels.max()) / _RANGE_DB + 1, 0, 1).T[::-1]


def coloured(values: Float[np.ndarray, "f t"]) -> UInt8[np.ndarray, "f t 3"]:
    places = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(values, places, channel) for channel in _COLOURS.T], axis=-1).round().astype(np.uint8)


def figure(wave: Wave, name: str) -> str:
    """The HTML of the picture and its caption."""
    picture = base64.b64encode(png(coloured(loudness(wave)))).decode()
    said = f"{html.escape(name)}: {wave.seconds:.1f} s, 0 to {CODEC_RATE // 2000} kHz"
    style = "width:100%;height:9rem;border-radius:4px;display:block"
    image = f'<img alt="Spectrogram, {said}" src="data:image/png;base64,{picture}" style="{style}">'
    return f'<figure style="margin:0">{image}<figcaption>{said}</figcaption></figure>'

"""Pictures for the documentation and the trainer: spectrograms side by side, and curves from a training log.

    python -m metis_jax.evaluation.plots --output=se.png noisy=noisy.wav ours=enhanced.wav
    python -m metis_jax.evaluation.plots --output=loss.png --keys=loss work/metrics.jsonl

Figures are drawn without a display and without matplotlib's global state.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from metis_jax.audio.files import Wave, read_wave
from metis_jax.evaluation.errors import EvaluationError
from metis_jax.files.outputs import new_file
from metis_jax.files.text_files import read_lines

_WINDOW_SECONDS, _SHIFT_SECONDS = 0.032, 0.008
_RANGE_DB = 70
_LOG_SUFFIXES = (".jsonl", ".json")


def spectrogram(wave: Float[np.ndarray, " l"], rate: int) -> Float[np.ndarray, "f t"]:
    """Power in dB below that of a full-scale tone, of Hann frames of 32 ms every 8 ms, from frequency 0 up."""
    width, shift = round(_WINDOW_SECONDS * rate), round(_SHIFT_SECONDS * rate)
    wave = np.pad(wave, (0, max(0, width - len(wave))))
    window = np.hanning(width) / (0.5 * np.sum(np.hanning(width)))  # waves of different rates stay comparable
    frames = np.lib.stride_tricks.sliding_window_view(wave, width)[::shift] * window
    return 10 * np.log10(np.square(np.abs(np.fft.rfft(frames, axis=-1))).T + 1e-12)


def spectrogram_figure(waves: Mapping[str, Wave], *, highest_hertz: float = 8000.0) -> Figure:
    """One spectrogram under another, all on one time axis, one frequency axis and one colour scale of 70 dB."""
    pictures = {title: spectrogram(wave.samples, wave.rate) for title, wave in waves.items()}
    loudest = max(picture.max() for picture in pictures.values())
    figure = Figure(figsize=(8, 0.6 + 1.9 * len(pictures)), layout="constrained")
    rows = figure.subplots(len(pictures), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (title, picture) in zip(rows, pictures.items(), strict=True):
        wave = waves[title]
        image = axes.imshow(
            picture,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=loudest - _RANGE_DB,
            vmax=loudest,
            extent=(0, wave.seconds, 0, wave.rate / 2000),
        )
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylabel("kHz")
        axes.set_facecolor("black")
    rows[-1].set_xlabel("seconds")
    rows[-1].set_ylim(0, highest_hertz / 1000)
    rows[-1].set_xlim(0, max(wave.seconds for wave in waves.values()))
    figure.colorbar(image, ax=list(rows), label="dB", fraction=0.03)
    return figure


def read_curves(log: str | os.PathLike) -> dict[str, tuple[list[int | float], list[int | float]]]:
    """Steps and values of every finite number in a log of JSON lines that have a `step`.

    Numbers of a `split` other than "train" are named with it: "eval/loss".
    """
    curves: dict[str, tuple[list[int | float], list[int | float]]] = {}
    for number, line in enumerate(read_lines(log), start=1):
        try:
            entry = json.loads(line)
            step = entry["step"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise EvaluationError(f"{log}: line {number} is no JSON object with a step ({error})") from None
        for key, value in entry.items():
            if key != "step" and isinstance(value, int | float) and np.isfinite(value):
                split = entry.get("split", "train")
                steps, values = curves.setdefault(key if split == "train" else f"{split}/{key}", ([], []))
                steps.append(step)
                values.append(value)
    return curves


def curves_figure(logs: Mapping[str, str | os.PathLike], keys: Sequence[str]) -> Figure:
    """One panel per key, one line per log; raw values pale, and over them their running mean."""
    curves = {name: read_curves(path) for name, path in logs.items()}
    known = sorted({key for found in curves.values() for key in found})
    unknown = [key for key in keys if key not in known]
    if unknown or not keys:
        raise EvaluationError(
            f"--keys: {unknown[0] if unknown else 'none'} is not in the log; there are {', '.join(known)}"
        )
    figure = Figure(figsize=(8, 0.4 + 2.4 * len(keys)), layout="constrained")
    rows = figure.subplots(len(keys), 1, sharex=True, squeeze=False)[:, 0]
    for axes, key in zip(rows, keys, strict=True):
        for colour, (name, found) in enumerate(curves.items()):
            if key not in found:
                continue
            steps, values = found[key]
            axes.plot(steps, values, color=f"C{colour}", alpha=0.3, linewidth=0.8)
            axes.plot(steps, running_mean(np.array(values, dtype=np.float64)), color=f"C{colour}", label=name)
        axes.set_ylabel(key)
        axes.grid(alpha=0.3)
    rows[-1].set_xlabel("step")
    if len(curves) > 1:
        rows[0].legend()
    return figure


def running_mean(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Mean over a centred window of a twentieth of the curve, narrower at its ends."""
    half = len(values) // 40
    sums = np.concatenate([[0.0], np.cumsum(values)])
    centre = np.arange(len(values))
    reach = np.minimum(half, np.minimum(centre, len(values) - 1 - centre))
    return (sums[centre + reach + 1] - sums[centre - reach]) / (2 * reach + 1)


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write the picture in the format of its suffix; it appears whole or not at all."""
    with new_file(path) as partial:
        figure.savefig(partial, dpi=110, format=Path(path).suffix.lstrip("."))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(description="Spectrograms of waves, or curves of training logs, as one picture.")
    parser.add_argument("inputs", nargs="+", help="[NAME=]PATH of a wave, or of a log of JSON lines")
    parser.add_argument("--output", required=True, help="the picture: .png, .svg or .pdf")
    parser.add_argument("--highest_hertz", type=float, default=8000.0, help="top of the spectrograms")
    parser.add_argument("--keys", default="loss", help="which numbers of the logs, comma separated")
    given = parser.parse_args(arguments)
    try:
        named = _named(given.inputs)
        if all(Path(path).suffix in _LOG_SUFFIXES for path in named.values()):
            figure = curves_figure(named, given.keys.split(","))
        else:
            waves = {name: read_wave(path) for name, path in named.items()}
            figure = spectrogram_figure(waves, highest_hertz=given.highest_hertz)
        save_figure(figure, given.output)
    except (ValueError, OSError) as error:
        print(f"plots: {error}", file=sys.stderr)
        return 2
    return 0


def _named(inputs: Sequence[str]) -> dict[str, str]:
    """{name: path} of entries "NAME=PATH" or "PATH"."""
    named: dict[str, str] = {}
    for entry in inputs:
        name, _, path = entry.rpartition("=")
        name = name or Path(path).stem
        if name in named:
            raise EvaluationError(f"{named[name]} and {path} are both called {name!r}; name them, as in NAME={path}")
        named[name] = path
    return named


if __name__ == "__main__":
    sys.exit(main())

"""What a run tells of itself: JSON lines, TensorBoard and a progress bar, from process 0 alone."""

import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from tensorboardX import SummaryWriter
from tqdm import tqdm

from metis_jax.files.outputs import write_text
from metis_jax.files.text_files import read_lines
from metis_jax.training.trainers.protocol import Samples

METRICS_FILE = "metrics.jsonl"
LEAST_PIXELS = (240, 800)  # height and width of a picture


class Writer:
    """Scalars and samples by step.  A run that goes on from step k drops what an earlier try wrote after k."""

    def __init__(self, folder: pathlib.Path, start: int, *, is_active: bool = True):
        self._file = self._board = None
        if not is_active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / METRICS_FILE
        _keep_until(path, start)
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None)

    def scalars(self, step: int, values: Mapping[str, float], *, split: str = "train") -> None:
        if self._file is None:
            return
        line: dict[str, Any] = {"step": step, "split": split} | {name: float(value) for name, value in values.items()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{split}/{name}", value, step)

    def samples(self, step: int, samples: Samples) -> None:
        if self._board is None:
            return
        for name, (wave, rate) in samples.waves.items():
            self._board.add_audio(name, np.clip(wave, -1, 1)[:, None], step, sample_rate=rate)
        for pictures in samples.pictures.values():
            for name, image in as_images(pictures).items():
                self._board.add_image(name, image, step, dataformats="HWC")
        self._board.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._board.close()


def _keep_until(path: pathlib.Path, step: int) -> None:
    """Drops lines after `step`, and a last line that a kill cut short."""
    if not path.is_file():
        return
    kept = []
    for line in read_lines(path):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:
            break
    write_text(path, "".join(f"{line}\n" for line in kept))


def as_images(pictures: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pictures [height, width] as RGB bytes [height, width, 3], the same colour for the same value in all of them.

    The first row is at the bottom.  A small picture is drawn larger, every value as a rectangle.
    """
    low, high = np.percentile(np.concatenate([picture.reshape(-1) for picture in pictures.values()]), (1, 99))
    return {name: _drawn((picture - low) / max(high - low, 1e-6)) for name, picture in pictures.items()}


def _drawn(picture: np.ndarray) -> np.ndarray:
    for axis, least in enumerate(LEAST_PIXELS):
        picture = np.repeat(picture, max(1, -(-least // picture.shape[axis])), axis=axis)
    return colormaps["magma"](picture[::-1], bytes=True)[:, :, :3]


class ProgressBar:
    """A bar on a terminal, and nothing elsewhere."""

    def __init__(self, start: int, steps: int, *, is_active: bool = True):
        self._bar = None
        if is_active and sys.stderr.isatty():
            self._bar = tqdm(total=steps, initial=start, unit="step", dynamic_ncols=True)

    def step(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def show(self, **values: str) -> None:
        if self._bar is not None:
            self._bar.set_postfix(values, refresh=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

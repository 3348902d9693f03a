"""A wave that behaves like a voiced sound, from a seed."""

import numpy as np


def voice(seed: int, seconds: float, rate: int = 16_000) -> np.ndarray:
    """A buzzing vowel-like tone, its pitch and brightness fixed by the seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitch = rng.uniform(90, 250)
    harmonics = np.arange(1, int(3800 / pitch))
    levels = 1 / (1 + ((harmonics * pitch - rng.uniform(400, 1200)) / 500) ** 2)
    phases = 2 * np.pi * pitch * (time + 0.002 * np.sin(2 * np.pi * 4 * time))
    wave = (levels[:, None] * np.sin(harmonics[:, None] * phases)).sum(axis=0)
    wave *= 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(2, 5) * time)
    wave += 0.001 * rng.standard_normal(len(time))
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)

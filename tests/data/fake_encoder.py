"""An encoder without a model, for tests of what is around one."""

import time

import numpy as np

from metis_jax.clock import ssl_frames


class FakeEncoder:
    """Arrays of the right lengths whose values tell which samples they were made of."""

    def __init__(self, pause: float = 0.0):
        self.pause = pause
        self.longest = 0

    def ssl_features(self, waves):
        time.sleep(self.pause)
        frames = [ssl_frames(len(wave)) for wave in waves]
        self.longest = max(self.longest, *frames)
        return [np.abs(wave[: 320 * t : 320, None])[:t] for wave, t in zip(waves, frames, strict=True)]

    def semantic_tokens(self, features):
        return [np.round(x[:, 0] * 8000).astype(np.int32) for x in features]

    def visual_features(self, crops):
        self.longest = max(self.longest, *map(len, crops))
        return [one[:, :1, :3].reshape(len(one), 3).astype(np.float32) for one in crops]

    def acoustic_tokens(self, waves):
        return [np.repeat(np.round(np.abs(wave[::480, None]) * 1000), 12, axis=1).astype(np.int32) for wave in waves]

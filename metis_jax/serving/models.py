"""What the server asks of the models: a group of requests of one task and one way of decoding, at once."""

import dataclasses
import functools
from collections.abc import Hashable, Sequence

import numpy as np

from metis_jax.audio.files import Wave
from metis_jax.inference.metis import Metis
from metis_jax.inference.script import Script
from metis_jax.inference.settings import Prompt, Settings


@dataclasses.dataclass(frozen=True)
class Order:
    """One request: a recording or a text, in the voice of another recording where the task has one."""

    source: Wave | Script
    voice: Wave | None = None


class Models:
    """Groups of orders to waves.

    Attributes:
      metis: the models.
      tasks: that they serve.
    """

    def __init__(self, metis: Metis):
        self.metis, self.tasks = metis, tuple(metis.engine.bundle.tasks)
        self._prompt = functools.lru_cache(maxsize=16)(self._encoded)

    def group(self, task: str, settings: Settings, order: Order) -> Hashable:
        """What orders share that can be done at once; one that is long is alone, or others would wait for it."""
        if isinstance(order.source, Script):
            return task, settings
        seconds = sum(wave.seconds for wave in (order.source, order.voice) if wave)
        return (task, settings) if self.metis.fits_one_window(seconds, None, settings) else (task, settings, id(order))

    def make(self, group: Hashable, orders: Sequence[Order]) -> list[Wave]:
        """The waves of orders of one group; ValueError where one of them makes no sense."""
        task, settings, *_ = group
        sources = [order.source for order in orders]
        voices = [self._prompt(order.voice.samples.tobytes(), order.voice.rate) for order in orders if order.voice]
        if task == "tts":
            made = self.metis.speak(sources, voices, settings=settings)
        else:
            made = self.metis.transform(task, sources, voices or None, settings=settings)
        return [one.wave for one in made]

    def _encoded(self, samples: bytes, rate: int) -> Prompt:
        return self.metis.encode_prompt(Wave(np.frombuffer(samples, np.float32), rate))

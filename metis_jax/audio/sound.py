"""What an open recording is, whoever decodes it."""

import abc
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

MAXIMUM_CHANNELS = 64
RATES = (1_000, 1_000_000)  # Hz; a header that says otherwise is damaged
BLOCK_SECONDS = 10


class SoundError(ValueError):
    """Bytes that can not be used as sound; the message says what they are, and its reader which ones."""


class Recording(abc.ABC):
    """An open sound file.

    Attributes:
      container: the kind of file, as its decoder calls it.
      channels: of the beginning.
      rate: samples per second.
      is_plain: whether libsndfile alone finds all of it, and may seek in it.
    """

    container: str
    channels: int
    rate: int
    is_plain: bool

    @abc.abstractmethod
    def blocks(self) -> Iterator[Float[np.ndarray, "l c"]]:
        """All samples, in pieces of about ten seconds, none empty."""

    @abc.abstractmethod
    def frames(self) -> int:
        """How many samples each channel has; they are read where nothing else tells."""

    @abc.abstractmethod
    def shortfall(self) -> str:
        """After all blocks: what is missing of the sound that the file tells of; empty where it is all there."""

    @abc.abstractmethod
    def close(self) -> None: ...

    def check(self) -> None:
        """SoundError for numbers of channels or samples that no recording has."""
        if self.channels > MAXIMUM_CHANNELS:
            raise SoundError(f"has {self.channels} channels; at most {MAXIMUM_CHANNELS} are read")
        if not RATES[0] <= self.rate <= RATES[1]:
            raise SoundError(f"has {self.rate} samples per second; {RATES[0]} to {RATES[1]} are read")

"""What the step and the loop ask of a stage, and the little they need to know about its batches.

A stage is a frozen dataclass: how its models are built, and a loss.  Parameters are {component: Flax variables}, where
a component is a model that a bundle could hold.  The stage does not know which of them are trained: whoever calls
`loss` joins what moves with what does not.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import flax.struct
import numpy as np

from metis_jax.models.components import Example
from metis_jax.types import Array, Float, Key, Variables

Params = dict[str, Variables]
Batch = Mapping[str, Array]
Metrics = dict[str, Array]


@flax.struct.dataclass
class Loss:
    """What a stage makes of a batch.

    Attributes:
      mean: the scalar to descend.
      count: of how many masked tokens, frames or rows it is a mean.  Losses of several batches, or of the parts of one,
        are averaged with these weights, so that each token, frame or row has the same.
      metrics: scalars to report; averaged alike.
    """

    mean: Float[Array, ""]
    count: Float[Array, ""]
    metrics: Metrics

    @property
    def scalars(self) -> Metrics:
        """The loss among what is reported."""
        return self.metrics | {"loss": self.mean}


@dataclasses.dataclass(frozen=True)
class Samples:
    """What a run shows of itself.

    Attributes:
      waves: by name, with their rate.
      pictures: [height, width] of any values, by kind and then by name.  Those of a kind have their colours in common,
        so that what is fainter looks fainter.
    """

    waves: dict[str, tuple[np.ndarray, int]] = dataclasses.field(default_factory=dict)
    pictures: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)


@runtime_checkable
class Stage(Protocol):
    """One objective over one or more models."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The kinds of batches that it can be trained on (`config.data.stage`)."""
        ...

    def models(self) -> dict[str, Example]:
        """{component: its module, with the smallest inputs of an `init`}."""
        ...

    def configs(self) -> dict[str, Any]:
        """{component: its configuration}, for checking what is loaded and for writing bundles."""
        ...

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """The scalar to descend, what it is a mean of, and scalars to report."""
        ...

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        """A few examples of the batch, as far as the stage's models can show them."""
        ...

    def seconds(self, batch: Mapping[str, np.ndarray]) -> float:
        """Seconds of audio that the batch stands for, padding left out."""
        ...


@runtime_checkable
class LooksFirst(Protocol):
    """A stage some of whose parameters start from the data instead of being drawn."""

    def first_look(self, params: Params, batches: Iterator[Batch], seed: int) -> dict[str, dict[str, np.ndarray]]:
        """{component: {path joined by "/": array}} of what is to replace drawn leaves; equal in every process."""
        ...


def init_component(stage: Stage, component: str, key: Key[Array, ""]) -> Variables:
    """Fresh variables of one model, with their logical axis names."""
    # Under rules Flax would constrain every parameter as it is made, and refuses names that occur twice in one kernel;
    # `sharding.parameter_spec` decides where parameters lie.
    with nn.logical_axis_rules(()):
        return stage.models()[component].init(key)

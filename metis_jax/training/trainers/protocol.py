"""What the step, the loop and the export ask of a trainer.

A trainer says how its models are built, and their loss.  Parameters are {component: Flax variables}, where
a component is a model that a bundle could hold.  A trainer does not know which of them are trained: whoever calls
`loss` joins what moves with what does not.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import numpy as np

from metis_jax.clock import FRAME_RATE
from metis_jax.config import LoraConfig
from metis_jax.models.components import ModelInit
from metis_jax.types import Array, Float, Key, Policy, Variables

Params = dict[str, Variables]
Batch = Mapping[str, Array]
Metrics = dict[str, Array]


@flax.struct.dataclass
class Loss:
    """What a trainer makes of a batch.

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


class Trainer(abc.ABC):
    """One objective over one or more models; a frozen dataclass of what a config's `model` section says.

    Attributes:
      reads: the kinds of batches that it can be trained on (`config.data.stage`).
      policy: how what is trained is executed.
      lora: of the low-rank updates that are trained in place of their base; None where there are none.
    """

    reads: tuple[str, ...]
    policy: Policy
    lora: LoraConfig | None = None

    @abc.abstractmethod
    def models(self) -> dict[str, ModelInit]:
        """{component: its module, with the smallest inputs of an `init`}."""

    @abc.abstractmethod
    def configs(self) -> dict[str, Any]:
        """{component: its configuration}, for checking what is loaded and for writing bundles."""

    @abc.abstractmethod
    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """The scalar to descend, what it is a mean of, and scalars to report."""

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        """A few examples of the batch, as far as the models can show them."""
        return Samples()

    def seconds(self, batch: Mapping[str, np.ndarray]) -> float:
        """Seconds of audio that the batch stands for, padding left out."""
        return float(np.sum(batch["lengths"])) / FRAME_RATE

    def first_look(self, params: Params, batches: Iterator[Batch], seed: int) -> dict[str, dict[str, np.ndarray]]:
        """{component: {path joined by "/": array}} of leaves that start from the data; equal in every process."""
        return {}

    def finish(self, params: Params, batches: Iterator[Mapping[str, np.ndarray]]) -> Params:
        """The parameters as a bundle has them, with what is measured over `batches` once training has ended."""
        return params

    def name_in_chain(self, component: str) -> str:
        """What a trained component is called in a bundle that has all models of the chain."""
        return component

    def executed(self, **changes: Any) -> "Trainer":
        """The same trainer with fields of its policies changed, such as `remat`."""
        policies = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        policies = {name: value for name, value in policies.items() if isinstance(value, Policy)}
        return dataclasses.replace(
            self, **{name: dataclasses.replace(policy, **changes) for name, policy in policies.items()}
        )


def init_component(trainer: Trainer, component: str, key: Key[Array, ""]) -> Variables:
    """Fresh variables of one model, with their logical axis names."""
    # Under rules Flax would constrain every parameter as it is made, and refuses names that occur twice in one kernel;
    # `sharding.parameter_spec` decides where parameters lie.
    with nn.logical_axis_rules(()):
        return trainer.models()[component].init(key)

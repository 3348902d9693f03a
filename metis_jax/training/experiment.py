"""From the section of an experiment to the config of its run."""

import copy
from collections.abc import Mapping
from typing import Any

from metis_jax.sections import from_config_dict, to_dict
from metis_jax.training.config import FOLLOWS, TrainConfig
from metis_jax.training.starts.base import begun_from
from metis_jax.training.starts.initial import DRAWN
from metis_jax.training.trainers.registry import make_trainer
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.compatibility import misfits

_CHANGED_BY_BASE = ("stage", "model", "tasks", "initial", "skip_initial")


def read_config(section: Mapping[str, Any]) -> TrainConfig:
    """The config of an experiment: with a `base`, its models take their sizes and their first weights from there."""
    section = copy.deepcopy(dict(section))
    base = section.pop("base", "")
    if base and (missing := [name for name in _CHANGED_BY_BASE if name not in section]):
        raise ValueError(f"config.{missing[0]} is missing; a run with config.base has {', '.join(_CHANGED_BY_BASE)}")
    config = from_config_dict(TrainConfig, begun_from(Bundle(base), section) if base else section, where="config")
    trainer = make_trainer(config.stage, config.model)
    for problem in misfits(trainer.configs()):
        raise ValueError(f"config.model: {problem}")
    reads, given = trainer.reads, config.data["stage"]
    if given not in reads:
        raise ValueError(f"config.data.stage is {given!r}; this {config.stage} is trained on {' or '.join(reads)}")
    return config


def complete(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section with every field that a run has: sizes of a `base`, and defaults where it says nothing.

    What the classes of `TrainConfig`, of its trainer and of its data say is said there alone.  ValueError as of
    `read_config`.
    """
    config = read_config(section)
    trainer = make_trainer(config.stage, config.model)
    data = {name: value for name, value in to_dict(config.pipeline()).items() if name not in FOLLOWS}
    changes = {
        "model": to_dict(trainer),
        "data": data,
        "initial": dict.fromkeys(trainer.configs(), DRAWN) | config.initial,
    }
    return {"base": section.get("base", "")} | to_dict(config) | changes

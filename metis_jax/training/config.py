"""Everything that defines a run, and which of it may change when the run is continued."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax

from metis_jax.data.batches.pipeline import PipelineConfig
from metis_jax.data.batches.plans import rows_of_buckets
from metis_jax.files.places import check_is_local
from metis_jax.sections import from_config_dict, to_dict
from metis_jax.sharding import MeshConfig
from metis_jax.tasks import TASKS
from metis_jax.training.optim import OptimizerConfig
from metis_jax.training.starts.initial import DRAWN
from metis_jax.training.trainers.registry import make_trainer

# What the data section does not say, because another value does.
FOLLOWS = {"rows": "it follows from config.tokens_per_device", "seed": "it is config.seed"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run.

    Attributes:
      stage, model: which objective, and its section (the fields of that stage's class).
      data: the fields of `PipelineConfig`, but for those that follow from others (`FOLLOWS`).
      optimizers: one per component that is trained; the other components stay as they are.
      tokens_per_device: frames of a batch at 50 Hz, padding included, by the number of devices the run begins on.  How
        many rows they are depends on the bucket (`data.batching.rows_of_buckets`).
      accumulate: parts in which a batch passes through the devices.
      ema_decay: of the average of the parameters that is evaluated and exported; 0 keeps none.
      initial: {component: bundle, or bundle:name of the component there}; "random" (`DRAWN`) draws it, as does leaving
        it out.
      skip_initial: regular expressions of "component/path" that are not taken from `initial`, such as an output layer
        that is of another kind now.
      half_precision: frozen components whose parameters are kept in bfloat16.
      resume: folder of another run's checkpoints, from which a run that has none of its own goes on.
      synthetic: makes this many synthetic records in the working folder and trains on those.
      eval_every, sample_every: 0 turns the one off.
      keep_period: a checkpoint at every multiple of it is kept for good; 0 keeps the last `keep_checkpoints` alone.
      tasks: what the exported generator is for.
      license: of what the run trains on, as its user states it; an exported bundle says it beside the licences of the
        bundles that the run began from.
    """

    stage: str
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    optimizers: Mapping[str, Any]
    steps: int
    tokens_per_device: int
    seed: int = 0
    mesh: MeshConfig = MeshConfig()
    accumulate: int = 1
    ema_decay: float = 0.0
    initial: Mapping[str, str] = dataclasses.field(default_factory=dict)
    skip_initial: tuple[str, ...] = ()
    half_precision: tuple[str, ...] = ()
    resume: str = ""
    synthetic: int = 0
    log_every: int = 50
    eval_every: int = 2000
    eval_batches: int = 8
    sample_every: int = 10_000
    checkpoint_every: int = 2000
    keep_checkpoints: int = 2
    keep_period: int = 0
    tasks: tuple[str, ...] = ()
    license: str = ""

    def __post_init__(self):
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"config.{name} is {getattr(self, name)}; expected {least} to {most}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"config.ema_decay is {self.ema_decay}; it must lie in [0, 1)")
        for place in (self.resume, *self.initial.values()):
            check_is_local(place)
        for task in self.tasks:
            if task not in TASKS:
                raise ValueError(f"config.tasks has {task!r}; use some of {', '.join(TASKS)}")
        if not self.optimizers:
            raise ValueError("config.optimizers is empty; name the component to train")
        for name, reason in FOLLOWS.items():
            if name in self.data:
                raise ValueError(f"config.data.{name} is not set by hand, {reason}")
        object.__setattr__(self, "initial", {name: place for name, place in self.initial.items() if place != DRAWN})
        optimizers = {
            name: section
            if isinstance(section, OptimizerConfig)
            else from_config_dict(OptimizerConfig, section, where=f"config.optimizers.{name}")
            for name, section in self.optimizers.items()
        }
        object.__setattr__(self, "optimizers", optimizers)
        self.pipeline()  # a mistake in the data section is told before anything is built

    def pipeline(self, devices: int = 1, multiple: int = 1) -> PipelineConfig:
        """The data section; batches for so many devices, whose rows are multiples of `multiple` in every bucket."""
        given = {**self.data, "rows": multiple, "seed": self.seed}
        config = from_config_dict(PipelineConfig, given, where="config.data")
        rows = rows_of_buckets(self.tokens_per_device * devices, config.buckets, multiple)
        return dataclasses.replace(config, rows=rows)


_MANY = 10**12
_RANGES = {
    **{name: (1, _MANY) for name in ("steps", "log_every", "checkpoint_every")},
    **{name: (0, _MANY) for name in ("eval_every", "sample_every", "keep_period")},
    "tokens_per_device": (1, 10**8),
    "accumulate": (1, 10**5),
    "eval_batches": (1, 10**6),
    "keep_checkpoints": (1, 10**6),
    "synthetic": (0, 10**5),
    "seed": (0, 2**31 - 1),
}

# What a continued run may change: how far, how often, where.  The data section has rules of its own.
FREE = (
    *("steps", "mesh", "resume", "initial", "skip_initial", "data", "tasks", "license"),
    *("log_every", "eval_every", "eval_batches", "sample_every", "checkpoint_every", "keep_checkpoints", "keep_period"),
)


def defining(config: TrainConfig) -> dict[str, Any]:
    """{dotted key: value as JSON would give it back} of what must stay the same over a run."""
    return _flat({name: value for name, value in to_dict(config).items() if name not in FREE})


def _flat(section: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, child in value.items():
                walk(f"{prefix}.{key}" if prefix else key, child)
        else:
            found[prefix] = _as_json(value)

    walk("", section)
    return found


def _in_full(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The same with every field of models and optimizers; checkpoints of earlier versions lack those that came since.

    What is no config any more stays as it is, and so differs.
    """
    section: dict[str, Any] = flax.traverse_util.unflatten_dict(dict(flat), sep=".")
    try:
        model = to_dict(make_trainer(section["stage"], section["model"]))
        optimizers = {
            name: to_dict(from_config_dict(OptimizerConfig, own, where=name))
            for name, own in section["optimizers"].items()
        }
    except (ValueError, KeyError, TypeError):
        return dict(flat)
    return _flat(section | {"model": model, "optimizers": optimizers})


def _as_json(value: Any) -> Any:
    return [_as_json(item) for item in value] if isinstance(value, tuple | list) else value


def check_same_run(saved: Mapping[str, Any], current: Mapping[str, Any], where: str) -> None:
    """ValueError that names the first key in which a checkpoint's config differs from this one's."""
    saved, current = _in_full(saved), _in_full(current)
    for key in sorted(set(saved) | set(current), key=lambda key: (key != "stage", key)):  # which says most
        if saved.get(key) != current.get(key):
            raise ValueError(
                f"{where} was written with config.{key} = {saved.get(key)!r}, this run has {current.get(key)!r}; "
                "use the old value or another --workdir"
            )

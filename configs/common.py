"""What every experiment file shares: words of its argument, model sizes, and the shape of a quick test.

The argument is a list of words, `--config=configs/pretrain.py:tiny,quicktest`:

    tiny        the reduced models (seconds on a CPU), trained on your data
    quicktest   the reduced models for twenty steps on synthetic records: no data needed

Any value can be set on the command line, `--config.data.shards='("/data/shards",)' --config.batch_size=16`.
"""

import dataclasses
from typing import Any

import ml_collections

from metis_jax.config import SIZES, to_dict
from metis_jax.training.optim import OptimizerConfig
from metis_jax.types import Policy

SIZE_WORDS = ("tiny", "quicktest")


def words(arg: str | None, *known: str) -> frozenset[str]:
    """The words of an argument; one that the file does not know is an error."""
    given = frozenset(word for word in (arg or "").split(",") if word)
    unknown = sorted(given - {*known, *SIZE_WORDS})
    if unknown:
        raise ValueError(f"config argument {unknown[0]!r} is unknown; use {', '.join((*known, *SIZE_WORDS))}")
    return given


def is_tiny(given: frozenset[str]) -> bool:
    return bool(given & set(SIZE_WORDS))


def sized(cls: type, given: frozenset[str], **changes: Any) -> dict[str, Any]:
    """All fields of a model's config at the size the words ask for."""
    return to_dict(dataclasses.replace(SIZES["tiny" if is_tiny(given) else "full"][cls], **changes))


def policy(given: frozenset[str], **changes: Any) -> dict[str, Any]:
    """bfloat16 with rematerialised matrix products at full size, float32 without at the tiny one."""
    base = {} if is_tiny(given) else {"dtype": "bfloat16", "remat": "dots"}
    return to_dict(Policy(**(base | changes)))


def optimizer(given: frozenset[str], **changes: Any) -> dict[str, Any]:
    """The optimizer of an experiment; tiny models learn faster and warm up within a hundred steps."""
    if is_tiny(given):
        changes |= {"learning_rate": 1e-3, "warmup_steps": 50, "total_steps": 5000}
    return to_dict(OptimizerConfig(**changes))


def experiment(given: frozenset[str], **values: Any) -> ml_collections.ConfigDict:
    """A config with the defaults of long runs, made small where the words ask for it."""
    config = ml_collections.ConfigDict(
        dict(
            seed=0,
            mesh=dict(data=-1, fsdp=1, tensor=1),
            accumulate=1,
            ema_decay=0.0,
            initial={},
            half_precision=(),
            resume="",
            synthetic=0,
            log_every=50,
            eval_every=2000,
            eval_batches=8,
            sample_every=10_000,
            checkpoint_every=2000,
            keep_checkpoints=2,
            keep_period=0,
            tasks=(),
            license="as stated by whoever trained it",
        )
    )
    config.update(values)
    config.data.shards = config.data.get("shards", ("shards",))
    if is_tiny(given):
        config.steps = 500
        config.batch_size = 8
        config.data.buckets = tuple(config.data.get("tiny_buckets", (100, 200)))
        config.log_every, config.eval_every, config.eval_batches = 10, 100, 2
        config.sample_every, config.checkpoint_every = 250, 100
    if "quicktest" in given:
        config.steps = 20
        config.synthetic = 32
        config.initial = {}
        config.data.buckets = (50,)
        config.data.recipe = dict(min_frames=20, prompt_frames=(10, 20))
        config.data.block_batches = 2
        config.data.threads = 2
        config.log_every, config.eval_every, config.eval_batches = 5, 10, 1
        config.sample_every, config.checkpoint_every = 20, 10
    if "tiny_buckets" in config.data:
        del config.data.tiny_buckets
    return config

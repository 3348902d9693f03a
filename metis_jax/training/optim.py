"""AdamW, its schedules, and the ordered rules that say which parameters move and which decay.

Rules are (regular expression, yes or no) pairs over the variable paths of one model
("params/transformer/layers/attention/query/kernel").  The expression must match the whole path, the first match wins,
and a path that no rule matches is an error.
"""

import dataclasses
import re
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

SCHEDULES = ("inverse_sqrt", "cosine", "exponential", "constant")
MOMENT_DTYPES = ("float32", "bfloat16")

# Matrices decay; norms, biases, gates and embeddings of a single vector do not.
DECAY_RULES = ((r".*/(kernel|direction|table|token_tables|logits_kernel|down|up)", True), (r".*", False))
# Matrices whose inputs grow in number with the width of the model; those of conditions and tables have a fixed number.
MATRIX_RULES = (
    (r"params/condition_adapter/.*", False),
    (r".*/(kernel|direction|logits_kernel)", True),
    (r".*", False),
)
# Collections other than `params` (feature statistics, for one) are set and not learned.
TRAIN_EVERYTHING = ((r"params/.*", True), (r".*", False))

Rules = tuple[tuple[str, bool], ...]


_RANGES = {
    "learning_rate": (0.0, 10.0),
    "matrix_rate": (1e-6, 1e6),
    "warmup_steps": (0, 10**12),
    "total_steps": (0, 10**12),
    "final_fraction": (0.0, 1.0),
    "b1": (0.0, 1 - 1e-9),
    "b2": (0.0, 1 - 1e-9),
    "epsilon": (1e-30, 1.0),
    "weight_decay": (0.0, 10.0),
    "clip_norm": (0.0, 1e30),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How one component is optimized.

    Attributes:
      schedule: after `warmup_steps` of linear warm-up "inverse_sqrt" falls as sqrt(warmup / step), "cosine" reaches
        `final_fraction` of the rate at `total_steps` and stays there, "exponential" passes through it by the same
        factor at every step, "constant" stays.
      matrix_rate: the rate of `matrices`, in `learning_rate`.  A rate that was found at a small width serves a larger
        one where this is small / large (maximal update parametrization, arXiv 2203.03466, table 8); 1 in the paper.
      matrices: rules for the leaves that it applies to.
      b1, b2: AdamW's usual ones, as the authors' trainers of generators leave them.
      first_moment: dtype in which AdamW's first moment is kept; "bfloat16" saves 2 of 12 bytes a parameter.  The second
        stays float32: with b2 = 0.999 a step changes it by less than bfloat16 can tell.
      clip_norm: the gradient of the whole component is scaled down to this norm; 0 leaves it alone.
      trainable: rules for the leaves that move.  The others get neither gradient nor moments.
      decay: rules for the leaves that `weight_decay` applies to.
    """

    learning_rate: float = 1e-4
    matrix_rate: float = 1.0
    matrices: Rules = MATRIX_RULES
    schedule: str = "inverse_sqrt"
    warmup_steps: int = 32_000
    total_steps: int = 0
    final_fraction: float = 0.0
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    first_moment: str = "float32"
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    trainable: Rules = TRAIN_EVERYTHING
    decay: Rules = DECAY_RULES

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise ValueError(f"optimizer.schedule is {self.schedule!r}; use one of {', '.join(SCHEDULES)}")
        if self.first_moment not in MOMENT_DTYPES:
            raise ValueError(f"optimizer.first_moment is {self.first_moment!r}; use one of {', '.join(MOMENT_DTYPES)}")
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"optimizer.{name} is {getattr(self, name)}; expected {least:g} to {most:g}")
        for name in ("trainable", "decay", "matrices"):
            for pattern, _ in getattr(self, name):
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise ValueError(f"optimizer.{name}: {pattern!r} is no regular expression: {error}") from None
        if self.schedule in ("cosine", "exponential") and self.total_steps <= self.warmup_steps:
            raise ValueError(
                f"optimizer.total_steps is {self.total_steps}; schedule {self.schedule} needs more than its "
                f"warmup_steps, {self.warmup_steps}"
            )
        if self.schedule == "exponential" and self.final_fraction <= 0:
            raise ValueError(
                f"optimizer.final_fraction is {self.final_fraction}; schedule exponential never gets there, "
                "give a positive one"
            )


def learning_rate(config: OptimizerConfig) -> optax.Schedule:
    """Steps taken so far -> rate.  The first step already moves: its rate is one step into the warm-up."""
    peak, warmup = config.learning_rate, max(config.warmup_steps, 1)
    falling = max(config.total_steps - warmup, 1)
    match config.schedule:
        case "inverse_sqrt":
            after = _inverse_sqrt(peak, warmup)
        case "exponential":
            # By what is left at the end: the factor of a step is too near to one for float32.
            after = optax.exponential_decay(peak, falling, config.final_fraction)
        case "cosine":
            after = optax.cosine_decay_schedule(peak, falling, config.final_fraction)
        case _:
            after = optax.constant_schedule(peak)
    # Not Optax's rise, which is what is left until the peak: rounding of that is large beside the first rates.
    joined = optax.join_schedules((lambda count: peak * (count / warmup), after), (warmup,))
    return lambda count: jnp.asarray(joined(jnp.asarray(count, jnp.float32) + jnp.float32(1)), jnp.float32)


def _inverse_sqrt(peak: float, warmup: int) -> optax.Schedule:
    return lambda count: peak * jnp.sqrt(warmup / (warmup + count))


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Clipping and AdamW over the trainable leaves of one component."""
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    adamw = optax.adamw(
        learning_rate(config),
        b1=config.b1,
        b2=config.b2,
        eps=config.epsilon,
        mu_dtype=config.first_moment,
        weight_decay=config.weight_decay,
        mask=lambda params: by_rules(params, config.decay, "optimizer.decay"),
    )
    chain = optax.chain(clip, adamw)

    def update(gradients: Any, moments: Any, params: Any) -> tuple[Any, Any]:
        # Optax raises a float to an integer power; our own code stays strict around it.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, moments = chain.update(gradients, moments, params)
        if config.matrix_rate != 1:
            is_matrix = by_rules(params, config.matrices, "optimizer.matrices")
            rate = jnp.float32(config.matrix_rate)
            updates = jax.tree.map(lambda own, x: rate.astype(x.dtype) * x if own else x, is_matrix, updates)
        return updates, moments

    return optax.GradientTransformation(chain.init, update)


def by_rules(params: dict[str, Any], rules: Rules, what: str) -> dict[str, Any]:
    """A tree of the values that the rules give to the leaves of `params`."""
    compiled = [(re.compile(pattern), value) for pattern, value in rules]
    values = {}
    for path in flax.traverse_util.flatten_dict(params, sep="/"):
        for pattern, value in compiled:
            if pattern.fullmatch(path):
                values[path] = value
                break
        else:
            raise ValueError(f"no rule of {what} matches parameter {path!r}; end the rules with one for '.*'")
    return flax.traverse_util.unflatten_dict(values, sep="/")


def split_trainable(params: dict[str, Any], rules: Rules, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(leaves that move, leaves that do not)."""
    moves = flax.traverse_util.flatten_dict(by_rules(params, rules, what))
    flat = flax.traverse_util.flatten_dict(params)
    trainable = {path: leaf for path, leaf in flat.items() if moves[path]}
    frozen = {path: leaf for path, leaf in flat.items() if not moves[path]}
    return flax.traverse_util.unflatten_dict(trainable), flax.traverse_util.unflatten_dict(frozen)


def join_trees(*trees: dict[str, Any]) -> dict[str, Any]:
    """The union of trees that have no leaf in common."""
    flat = {}
    for tree in trees:
        flat |= flax.traverse_util.flatten_dict(tree)
    return flax.traverse_util.unflatten_dict(flat)

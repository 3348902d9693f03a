"""What every experiment file shares: words of its argument, model sizes, and the shape of a quick test.

The argument is a list of words, `--config=configs/pretrain.py:tiny,quicktest`:

    tiny        the reduced models (seconds on a CPU), trained on your data
    quicktest   the reduced models for twenty steps on synthetic records: no data needed
    samples     (generators) load the codec too, for sample waves or pictures: --config.initial.X_codec=BUNDLE

With `--config.base=nano` or `--config.base=BUNDLE` the models have the sizes of that bundle's and begin from its
weights (`initial`, where it names no bundle itself).

Any value can be set on the command line, `--config.data.shards='("/data/shards",)' --config.tokens_per_device=5000`;
`--show` prints all of them.
Fine-tuning files also know

    full        every parameter of the generator moves (the default)
    lora        low-rank adapters, condition adapter and phones move, the base stays; set the rank by
                --config.model.lora.rank=16 --config.model.lora.alpha=32
"""

import dataclasses
from typing import Any

import ml_collections

from metis_jax.config import (
    SIZES,
    LoraConfig,
    SemanticCodecConfig,
    SemanticGeneratorConfig,
    SslEncoderConfig,
    VisualEncoderConfig,
)
from metis_jax.sections import to_dict
from metis_jax.training.experiment import complete
from metis_jax.training.optim import OptimizerConfig
from metis_jax.types import Policy

SIZE_WORDS = ("tiny", "quicktest")
SAMPLES = "samples"


def words(arg: str | None, *known: str) -> frozenset[str]:
    """The words of an argument; one that the file does not know is an error."""
    given = frozenset(word for word in (arg or "").split(",") if word)
    unknown = sorted(given - {*known, *SIZE_WORDS})
    if unknown:
        raise ValueError(f"config argument {unknown[0]!r} is unknown; use {', '.join((*known, *SIZE_WORDS))}")
    return given


def is_tiny(given: frozenset[str]) -> bool:
    return bool(given & set(SIZE_WORDS))


def sized(cls: type, given: frozenset[str], **stated: Any) -> dict[str, Any]:
    """All fields of a model's config at the size that the words ask for; `stated` are some at full size.

    The tiny model has those of them that are not as published: they say of which kind a model is, not how large.
    """
    full, tiny = SIZES["full"][cls], SIZES["tiny"][cls]
    if not is_tiny(given):
        return to_dict(dataclasses.replace(full, **stated))
    kinds = {name: value for name, value in stated.items() if value != getattr(full, name)}
    return to_dict(dataclasses.replace(tiny, **kinds))


def policy(given: frozenset[str], **changes: Any) -> dict[str, Any]:
    """bfloat16 with rematerialised matrix products at full size, float32 without at the tiny one."""
    base = {} if is_tiny(given) else {"dtype": "bfloat16", "remat": "dots"}
    return to_dict(Policy(**(base | changes)))


def optimizer(given: frozenset[str], **changes: Any) -> dict[str, Any]:
    """The optimizer of an experiment; tiny models learn faster and warm up within a hundred steps."""
    if is_tiny(given):
        changes |= {"learning_rate": 1e-3, "warmup_steps": 50, "total_steps": 5000}
    return to_dict(OptimizerConfig(**changes))


# What the words say beside the sizes of models.
_TINY = dict(steps=500, log_every=10, eval_every=100, eval_batches=2, sample_every=250, checkpoint_every=100)
_QUICK = dict(steps=20, log_every=5, eval_every=10, eval_batches=1, sample_every=20, checkpoint_every=10)
_QUICK |= dict(synthetic=32, initial={}, skip_initial=())
_QUICK_DATA = dict(recipe=dict(min_frames=20, prompt_frames=(10, 20)), block_batches=2, threads=2)


def experiment(
    given: frozenset[str],
    *,
    tiny_buckets: tuple[int, ...] = (100, 200),
    quick_buckets: tuple[int, ...] = (100,),
    **values: Any,
) -> ml_collections.ConfigDict:
    """Every field of a run: what `values` say, made small where the words ask for it, else the default of its class.

    Args:
      given: the words of the argument.
      tiny_buckets, quick_buckets: `data.buckets` of a tiny model and of a quick test, in batches of 8 of the longest.
      values: fields of `TrainConfig`.  An empty text in `initial` is a component that a user has to give; those that
        it does not name are drawn.
    """
    data = dict(shards=("shards",)) | values["data"]
    if is_tiny(given):
        buckets = quick_buckets if "quicktest" in given else tiny_buckets
        data |= dict(buckets=buckets)
        values |= _TINY | dict(tokens_per_device=8 * buckets[-1])
    if "quicktest" in given:
        data |= _QUICK_DATA
        values |= _QUICK
    return ml_collections.ConfigDict(complete(values | dict(data=data)), sort_keys=False)


def sample_codec(given: frozenset[str], name: str, cls: type) -> dict[str, dict[str, Any]]:
    """The sections that give a generator the codec its samples are shown with."""
    if SAMPLES not in given:
        return {}
    return {"model": {name: sized(cls, given)}, "initial": {name: ""}}


# First match wins: with LoRA only these leaves of the generator move.  Phones are new to the pre-trained model.
ADAPTERS_ONLY = (
    (r"params/.*/lora/(down|up)", True),
    (r"params/condition_adapter/.*", True),
    (r"params/phone_(embedding|mlp)/.*", True),
    (r".*", False),
)


def finetuning(
    given: frozenset[str],
    *,
    parts: tuple[dict[str, Any], ...],
    generator: dict[str, Any],
    lora: dict[str, Any],
    buckets: tuple[int, ...],
    learning_rate: float,
    warmup_steps: int,
    steps: int,
    tokens_per_device: int,
    prompt_frames: tuple[int, int] | None = None,
    sees: bool = False,
    learns_to_see: bool = False,
    example: dict[str, Any] | None = None,
    **masks: float,
) -> ml_collections.ConfigDict:
    """Stage-1 fine-tuning with the conditions of its tasks (Metis section 3.2).

    A task that hears makes its conditions and tokens in the step, with the frozen SSL encoder and semantic codec.

    Args:
      parts: the mixture of the data; its tasks are what the generator is for.
      generator: fields of its config at full size.
      lora: fields of the adapters' config at full size, for the word `lora`.
      prompt_frames: lengths of prompts that are recordings of their own (`data.recipe`).
      sees: whether lip features are made in the step, of mouth crops, by the visual encoder.
      learns_to_see: whether that one is trained along.
      example: fields of `data.example`.
      masks: `minimum_rate`, `prompt_probability` and `prompt_share` of the generator's stage.
    """
    has_lora, tiny = "lora" in given, is_tiny(given)
    tasks = tuple(part["task"] for part in parts)
    encoders = {"ssl_encoder": SslEncoderConfig, "semantic_codec": SemanticCodecConfig}
    hears = bool({"se", "tse", "vc"} & set(tasks))
    if not hears:
        encoders = {"visual_encoder": VisualEncoderConfig} if sees else {}
    adapters = dict(rank=4, alpha=8.0) if tiny else lora
    rules = dict(trainable=ADAPTERS_ONLY) if has_lora else {}
    rates = dict(learning_rate=learning_rate, schedule="inverse_sqrt", warmup_steps=warmup_steps)
    quick = dict(max_phones=64) if "quicktest" in given else {}
    return experiment(
        given,
        stage="semantic_generator",
        model=dict(
            generator=sized(SemanticGeneratorConfig, given, **generator),
            lora=to_dict(LoraConfig(**adapters)) if has_lora else None,
            policy=policy(given),
            encoder_policy=policy(given, remat="none"),
            **{name: sized(cls, given) for name, cls in encoders.items()},
            **masks,
        ),
        data=dict(
            stage="finetune",
            buckets=buckets,
            recipe=dict(prompt_frames=prompt_frames) if prompt_frames else {},
            parts=parts,
            example=dict(target="wave" if hears else "tokens", lips="crops" if sees else "features")
            | (example or {})
            | quick,
        ),
        optimizers=dict(semantic_generator=optimizer(given, **rates, **rules))
        | ({"visual_encoder": optimizer(given, **rates)} if learns_to_see else {}),
        initial=dict(semantic_generator="") | dict.fromkeys(encoders, ""),
        half_precision=("ssl_encoder",) if hears and not tiny else (),
        steps=steps,
        tokens_per_device=tokens_per_device,
        tasks=tasks,
    )

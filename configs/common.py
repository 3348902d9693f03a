"""What every experiment file shares: words of its argument, model sizes, and the shape of a quick test.

The argument is a list of words, `--config=configs/pretrain.py:tiny,quicktest`:

    tiny        the reduced models (seconds on a CPU), trained on your data
    quicktest   the reduced models for twenty steps on synthetic records: no data needed
    samples     (generators) load the codec too, for sample waves or pictures: --config.initial.X_codec=BUNDLE

With `--config.base=nano` or `--config.base=BUNDLE` the models have the sizes of that bundle's and begin from its
weights (`initial` and `code_vectors`, where they name no bundle themselves).

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
    AcousticCodecConfig,
    AcousticGeneratorConfig,
    LoraConfig,
    SemanticCodecConfig,
    SemanticGeneratorConfig,
    SslEncoderConfig,
)
from metis_jax.sections import to_dict
from metis_jax.training.base import complete
from metis_jax.training.optim import OptimizerConfig
from metis_jax.types import Policy

SIZE_WORDS = ("tiny", "quicktest")
SAMPLES = "samples"

# Of generators: as many frames as decoding takes at once (decoding/windows.py), and the paper's batches.
BUCKETS = (250, 500, 750, 1000, 1250, 1500)
TOKENS_PER_DEVICE = 10_000


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


# What the words say beside the sizes of models.
_TINY = dict(steps=500, log_every=10, eval_every=100, eval_batches=2, sample_every=250, checkpoint_every=100)
_QUICK = dict(steps=20, log_every=5, eval_every=10, eval_batches=1, sample_every=20, checkpoint_every=10)
_QUICK |= dict(synthetic=32, initial={}, skip_initial=(), code_vectors={})
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


def stage2(arg: str | None, *, first_level: int, **sizes: Any) -> ml_collections.ConfigDict:
    """A generator of acoustic levels from `first_level` on; `sizes` are changes to its config."""
    given = words(arg, SAMPLES)
    codec = sample_codec(given, "acoustic_codec", AcousticCodecConfig)
    generator = sized(AcousticGeneratorConfig, given, **sizes)
    return experiment(
        given,
        stage="acoustic_generator",
        model=dict(generator=generator, first_level=first_level, policy=policy(given)) | codec.get("model", {}),
        initial=codec.get("initial", {}),
        data=dict(stage="stage2", buckets=BUCKETS),
        optimizers=dict(acoustic_generator=optimizer(given, learning_rate=1e-4, warmup_steps=32_000)),
        steps=1_200_000,
        tokens_per_device=TOKENS_PER_DEVICE,
    )


# First match wins: with LoRA only these leaves of the generator move.  Phones are new to the pre-trained model.
ADAPTERS_ONLY = (
    (r"params/.*/lora/(down|up)", True),
    (r"params/condition_adapter/.*", True),
    (r"params/phone_(embedding|mlp)/.*", True),
    (r".*", False),
)


def finetuning(
    given: frozenset[str],
    parts: tuple[dict[str, Any], ...],
    *,
    condition: str = "gated",
    condition_width: int | None = None,
    phones: bool = False,
    tasks: tuple[str, ...],
    prompt_probability: float = 0.85,
    **example: Any,
) -> ml_collections.ConfigDict:
    """Stage-1 fine-tuning with a task's conditions (Metis section 3.2); `parts` is the mixture of the data."""
    has_lora, tiny = "lora" in given, is_tiny(given)
    generator = sized(SemanticGeneratorConfig, given, condition=condition)
    if condition_width is not None:
        generator["condition_width"] = condition_width
    if phones:
        generator["phone_vocabulary"] = 1024
    needs_features = any(part["task"] in ("se", "tse", "vc") for part in parts)
    rules = {"trainable": ADAPTERS_ONLY} if has_lora else {}
    if "quicktest" in given:
        example["max_phones"] = 64
    rate = dict(learning_rate=1e-4 if has_lora else 1e-5, warmup_steps=2000)
    return experiment(
        given,
        stage="semantic_generator",
        model=dict(
            generator=generator,
            lora=to_dict(LoraConfig(rank=4, alpha=8.0) if tiny else LoraConfig()) if has_lora else None,
            ssl_encoder=sized(SslEncoderConfig, given) if needs_features else None,
            semantic_codec=sized(SemanticCodecConfig, given) if needs_features else None,
            policy=policy(given),
            encoder_policy=policy(given, remat="none"),
            prompt_probability=prompt_probability,
        ),
        data=dict(
            stage="finetune",
            buckets=BUCKETS,
            recipe=dict(prompt_frames=(100, 500)),
            parts=parts,
            example=dict(target="wave" if needs_features else "tokens", **example),
        ),
        optimizers=dict(semantic_generator=optimizer(given, **rate, **rules)),
        initial=dict(semantic_generator="") | (dict(ssl_encoder="", semantic_codec="") if needs_features else {}),
        half_precision=("ssl_encoder",) if needs_features and not tiny else (),
        steps=100_000,
        tokens_per_device=TOKENS_PER_DEVICE,
        tasks=tasks,
    )

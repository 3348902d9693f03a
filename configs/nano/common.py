"""Sizes and data that all nano experiments share.

All components together have 19.8M parameters, 40 MB as float16.  Words of an argument: `tiny` and `quicktest` of
`configs/common.py`; `chain`, with which a quick test takes the shards and bundles of the steps before it; `scratch`,
with which fine-tuning starts from code vectors alone instead of a pre-trained generator; `further`, with which a
generator goes on from one that was trained for other SSL tokens; and, for tasks and omni, `lora`, with which low-rank
adapters, the condition adapter and phones move and the pre-trained rest stays.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_collections

from configs import common
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

_GENERATOR = {"width": 192, "num_layers": 4, "num_heads": 6, "mlp_width": 576}
_SSL_CODES, _LEVELS, _ACOUSTIC_CODES = 8192, 4, 1024
# Tables of the SSL codes are products of this rank: whole ones would be half of all parameters.
_RANK = 40
# SSL features are two log-mel frames of 10 ms, as the encoder finds them in what it hears.
_FEATURES = SslEncoderConfig().input_width
_WIDTHS = {
    SslEncoderConfig: {"has_readout": True},
    SemanticCodecConfig: {"feature_width": _FEATURES, "encodes_conditions": True},
    SemanticGeneratorConfig: {"condition_width": _FEATURES},
}


def _of_spectra(sizes: Mapping[type, Any]) -> dict[type, Any]:
    """The configs with SSL features that are spectra, and generators that see what is quantized of them."""
    return {cls: dataclasses.replace(config, **_WIDTHS.get(cls, {})) for cls, config in sizes.items()}


_SIZES: dict[type, Any] = {
    SslEncoderConfig: SslEncoderConfig(width=128, num_layers=4, hidden_layer=4, num_heads=4, mlp_width=384),
    SemanticCodecConfig: SemanticCodecConfig(
        codebook_size=_SSL_CODES,
        code_width=33,
        width=192,
        mlp_width=576,
        num_layers=3,
        # Codes start as clusters here, and follow as running means: commitment need not be weaker than reconstruction.
        reconstruction_weight=1.0,
        commitment_weight=0.25,
    ),
    AcousticCodecConfig: AcousticCodecConfig(
        encoder="spectrum",
        encoder_width=192,
        encoder_layers=3,
        latent_width=64,
        num_levels=_LEVELS,
        codebook_size=_ACOUSTIC_CODES,
        decoder_width=320,
        decoder_mlp_width=960,
        decoder_layers=5,
        # Half the paper's window: fewer phases that have to agree with each other's.
        n_fft=960,
        quantizer_dropout=0.1,
        residual_weight=1.0,
    ),
    SemanticGeneratorConfig: SemanticGeneratorConfig(**_GENERATOR, codebook_size=_SSL_CODES, table_rank=_RANK),
    AcousticGeneratorConfig: AcousticGeneratorConfig(
        **_GENERATOR,
        num_levels=_LEVELS,
        codebook_size=_ACOUSTIC_CODES,
        semantic_codebook_size=_SSL_CODES,
        semantic_rank=_RANK,
    ),
}
NANO, TINY = _of_spectra(_SIZES), _of_spectra(SIZES["tiny"])

# What is trained on may be shipped: share-alike prompts and one noise whose licence is not stated are left out.
SPEECH = {"exclude_licenses": ("by-sa",)}
# Of what has phones: the languages that metis_jax.text knows.
SPOKEN = SPEECH | {"languages": ("en", "zh", "de", "fr", "ko", "ja")}
NOISE = {"kinds": ("noise",), "exclude_licenses": ("by-sa", "freesound"), "split": "train", "held_out_share": 0.2}


# Mostly noise: the short training of a small model would be lost on speech that is degraded in five ways at once.
DEGRADATIONS = {
    "noise": {"probability": 1.0, "snr_db": (-5.0, 15.0)},
    "room": {"probability": 0.15},
    "clip": {"probability": 0.05},
    "band": {"probability": 0.1},
    "codec": {"probability": 0.05},
    "packets": {"probability": 0.05},
}
# Degraded speech beside the clean, for what learns to hear through noise.
DENOISING = {
    "stage": "finetune",
    "buckets": (150,),
    "example": {"target": "wave", "max_phones": 128, "degrade": DEGRADATIONS},
    "parts": ({"task": "se", "select": SPEECH},),
}

# What a generator of other SSL tokens has that is of no use for these.
_SSL_LAYERS = "semantic_generator/params/(token_embedding|to_logits|to_codes|condition_adapter)/.*"
_SSL_TABLE = "acoustic_generator/params/semantic_embedding/.*"

# Every level is decoded in one step, from masks alone: that is what short training should see.
MINIMUM_RATE = 0.8
# Speech from text is decoded in many steps, from masks alone on.
TEXT_MINIMUM_RATE = 0.3


def words(arg: str | None, *more: str) -> frozenset[str]:
    return common.words(arg, "chain", "scratch", *more)


def sized(cls: type, given: frozenset[str], **changes: Any) -> dict[str, Any]:
    """All fields of a model's config."""
    return to_dict((TINY if common.is_tiny(given) else NANO)[cls]) | changes


def optimizer(given: frozenset[str], steps: int, **changes: Any) -> dict[str, Any]:
    """AdamW that is back to a twentieth of its rate at the last step."""
    defaults = dict(learning_rate=1e-3, schedule="cosine", warmup_steps=100, total_steps=steps, final_fraction=0.05)
    return common.optimizer(given, **(defaults | changes))


def experiment(given: frozenset[str], **values: Any) -> ml_collections.ConfigDict:
    """A config with the defaults of short runs on a CPU."""
    data = dict(parts=(dict(select=SPEECH),), noise=NOISE, cached_seconds=30_000.0, threads=1, prefetch=4)
    values["data"] = data | values["data"]
    defaults = dict(ema_decay=0.995, eval_every=500, eval_batches=8, sample_every=0, checkpoint_every=100)
    config = common.experiment(given, **(defaults | values))
    if "chain" in given:
        config.synthetic = 0
        config.initial = values.get("initial", {})
        config.skip_initial = values.get("skip_initial", ())
        config.code_vectors = values.get("code_vectors", {})
    return config


def finetuning(
    given: frozenset[str], shares: dict[str, float], steps: int, *, minimum_rate: float, phone_vocabulary: int = 0
) -> ml_collections.ConfigDict:
    """One generator for several tasks, each with its share of the examples."""
    has_lora = "lora" in given
    moving = dict(trainable=common.ADAPTERS_ONLY) if has_lora else {}
    return experiment(
        given,
        stage="semantic_generator",
        model=dict(
            generator=sized(
                SemanticGeneratorConfig,
                given,
                condition="gated",
                phone_vocabulary=phone_vocabulary,
                spread_phones=bool(phone_vocabulary),
            ),
            lora=to_dict(LoraConfig(rank=16, alpha=32.0)) if has_lora else None,
            ssl_encoder=sized(SslEncoderConfig, given),
            semantic_codec=sized(SemanticCodecConfig, given),
            minimum_rate=minimum_rate,
        ),
        data=dict(
            stage="finetune",
            buckets=(150, 250),
            recipe=dict(prompt_frames=(50, 100)),
            # Targets of the very excerpt that is heard: levels are normalised over it, and tokens follow levels.
            example=dict(target="wave", max_phones=128, degrade=DEGRADATIONS),
            parts=tuple(
                dict(task=task, weight=share, select=SPOKEN if task == "tts" else SPEECH)
                for task, share in shares.items()
            ),
        ),
        optimizers=dict(semantic_generator=optimizer(given, steps, **moving)),
        initial=dict(ssl_encoder="", semantic_codec="") | ({} if "scratch" in given else dict(semantic_generator="")),
        skip_initial=(_SSL_LAYERS,) if "further" in given else (),
        code_vectors=dict(semantic_codec=""),
        tasks=tuple(shares),
        steps=steps,
        tokens_per_device=2000,
    )


def stage2(given: frozenset[str], steps: int, *, first_level: int, **sizes: int) -> ml_collections.ConfigDict:
    """An acoustic generator for the levels from `first_level` on."""
    start: dict[str, Any] = dict(code_vectors=dict(semantic_codec="", acoustic_codec=""))
    if "further" in given:
        start |= dict(initial=dict(acoustic_generator=""), skip_initial=(_SSL_TABLE,))
    return experiment(
        given,
        stage="acoustic_generator",
        model=dict(
            generator=sized(AcousticGeneratorConfig, given, **sizes),
            first_level=first_level,
            minimum_rate=MINIMUM_RATE,
        ),
        data=dict(stage="stage2", buckets=(150, 250)),
        optimizers=dict(acoustic_generator=optimizer(given, steps)),
        steps=steps,
        tokens_per_device=3000,
        **start,
    )

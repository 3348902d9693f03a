"""Sizes and data that all nano experiments share.

Words of an argument: `tiny` and `quicktest` of `configs/common.py`; `mix`, with which every source that the packaged
model learned from has its share of the examples, in place of one recording as often as another; `chain`, with which a
quick test takes the shards and bundles of the steps before it; `scratch`, with which fine-tuning starts from nothing
instead of a pre-trained generator; and, for fine-tuning, `lora`, with which low-rank adapters, the condition adapter
and phones move and the pre-trained rest stays.
"""

import dataclasses
from collections.abc import Container, Mapping
from typing import Any

import ml_collections

from configs import common
from metis_jax.config import (
    SIZES,
    AcousticCodecConfig,
    AcousticGeneratorConfig,
    LoraConfig,
    PhoneHeadConfig,
    SemanticCodecConfig,
    SemanticGeneratorConfig,
    WhisperEncoderConfig,
)
from metis_jax.sections import to_dict

_SSL_CODES, _LEVELS, _ACOUSTIC_CODES = 1024, 4, 1024
_GENERATOR = {"width": 192, "num_heads": 6, "mlp_width": 576}
_ENCODER = WhisperEncoderConfig(num_layers=3)

NANO: dict[type, Any] = {
    # The first layers of Whisper tiny.en.
    WhisperEncoderConfig: _ENCODER,
    SemanticCodecConfig: SemanticCodecConfig(
        feature_width=_ENCODER.width,
        codebook_size=_SSL_CODES,
        code_width=16,
        width=256,
        mlp_width=768,
        num_layers=2,
        reconstruction_weight=1.0,
        commitment_weight=0.25,
    ),
    PhoneHeadConfig: PhoneHeadConfig(feature_width=_ENCODER.width),
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
    SemanticGeneratorConfig: SemanticGeneratorConfig(
        **_GENERATOR, num_layers=5, codebook_size=_SSL_CODES, condition_width=_ENCODER.width
    ),
    AcousticGeneratorConfig: AcousticGeneratorConfig(
        **_GENERATOR,
        num_layers=5,
        num_levels=_LEVELS,
        codebook_size=_ACOUSTIC_CODES,
        semantic_codebook_size=_SSL_CODES,
    ),
}


def _tiny() -> dict[type, Any]:
    sizes = dict(SIZES["tiny"])
    width = sizes[WhisperEncoderConfig].width
    for cls, field in (
        (SemanticCodecConfig, "feature_width"),
        (PhoneHeadConfig, "feature_width"),
        (SemanticGeneratorConfig, "condition_width"),
    ):
        sizes[cls] = dataclasses.replace(sizes[cls], **{field: width})
    return sizes


TINY = _tiny()

# What is trained on may be shipped: share-alike prompts and one noise whose licence is not stated are left out.
SPEECH = {"exclude_licenses": ("by-sa",)}
# The few recordings of many native voices are heard as often as the many of others: sources, and their share of the
# examples.
ONE_VOICE = ("hibari",)
MIX = {
    ("LibriSpeech", "VCTK", "LJSpeech", "ARCTIC"): 0.35,
    ("Kokoro",): 0.25,
    ONE_VOICE: 0.15,
    ("speechocean", "Asterisk"): 0.25,
}
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
# What hears clean speech as often.
HALF_DEGRADED = DEGRADATIONS | {"noise": {"probability": 0.55, "snr_db": (-3.0, 18.0)}}


def words(arg: str | None, *more: str) -> frozenset[str]:
    return common.words(arg, "chain", "mix", *more)


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
    return config


def by_source(
    given: frozenset[str], select: Mapping[str, Any] = SPEECH, weight: float = 1.0, **part: Any
) -> tuple[dict[str, Any], ...]:
    """One part of the data; with `mix` one for each sources of `MIX`, whose weights have their shares of `weight`."""
    if "mix" not in given:
        return (dict(part, select=select, weight=weight),)
    has_one = "quicktest" in given  # synthetic speech has one source
    return tuple(
        dict(part, select=select | {"sources": () if has_one else sources}, weight=weight * share)
        for sources, share in MIX.items()
        if part.get("task") != "tse" or sources != ONE_VOICE  # a mixture is of two voices
    )


def finetuning(
    given: frozenset[str],
    shares: dict[str, float],
    steps: int,
    *,
    phones: bool = False,
    text_guided: float = 0.0,
    unmixed: Container[str] = (),
    **optimizing: Any,
) -> ml_collections.ConfigDict:
    """One generator for several tasks, each with its share of the examples; tokens are those of the shards.

    Tasks of `unmixed` hear one recording as often as another, with `mix` too.
    """
    has_lora = "lora" in given
    moving = dict(trainable=common.ADAPTERS_ONLY) if has_lora else {}
    hears = bool(set(shares) & {"se", "tse", "vc"})
    text = dict(phone_vocabulary=1024, spread_phones=True) if phones else {}
    return experiment(
        given,
        stage="semantic_generator",
        model=dict(
            generator=sized(SemanticGeneratorConfig, given, condition="gated" if hears else "none", **text),
            lora=to_dict(LoraConfig(rank=16, alpha=32.0)) if has_lora else None,
            ssl_encoder=sized(WhisperEncoderConfig, given) if hears else None,
        ),
        data=dict(
            stage="finetune",
            buckets=(150, 250, 400),
            recipe=dict(prompt_frames=(50, 150)),
            example=dict(target="tokens", max_phones=112, degrade=DEGRADATIONS, text_guided=text_guided),
            parts=tuple(
                part
                for task, share in shares.items()
                for part in by_source(
                    given - {"mix"} if task in unmixed else given,
                    SPOKEN if task == "tts" or text_guided else SPEECH,
                    share,
                    task=task,
                )
            ),
        ),
        optimizers=dict(semantic_generator=optimizer(given, steps, **(optimizing | moving))),
        initial=(dict(ssl_encoder="") if hears else {}) | ({} if "scratch" in given else dict(semantic_generator="")),
        tasks=tuple(shares),
        steps=steps,
        tokens_per_device=1600,
    )


def stage2(given: frozenset[str], steps: int, *, first_level: int, **sizes: int) -> ml_collections.ConfigDict:
    """An acoustic generator for the levels from `first_level` on."""
    return experiment(
        given,
        stage="acoustic_generator",
        model=dict(generator=sized(AcousticGeneratorConfig, given, **sizes), first_level=first_level),
        data=dict(
            stage="stage2",
            buckets=(150, 250, 400),
            example=dict(degraded_prompts=0.6),
            parts=by_source(given),
        ),
        optimizers=dict(acoustic_generator=optimizer(given, steps)),
        steps=steps,
        tokens_per_device=3000,
    )

"""Stages smaller than "tiny", and batches for them: what a test compiles in seconds."""

import dataclasses

import numpy as np

from metis_jax.config import (
    AcousticCodecConfig,
    AcousticGeneratorConfig,
    DiscriminatorConfig,
    LipHeadConfig,
    LoraConfig,
    PhoneHeadConfig,
    SemanticCodecConfig,
    SemanticGeneratorConfig,
    SslEncoderConfig,
    VisualEncoderConfig,
    WhisperEncoderConfig,
)
from metis_jax.training.optim import OptimizerConfig
from metis_jax.training.trainers.acoustic_codec import AcousticCodecTrainer
from metis_jax.training.trainers.acoustic_generator import AcousticGeneratorTrainer
from metis_jax.training.trainers.phonetic_codec import PhoneticCodecTrainer
from metis_jax.training.trainers.semantic_codec import SemanticCodecTrainer
from metis_jax.training.trainers.semantic_generator import SemanticGeneratorTrainer
from metis_jax.training.trainers.ssl_encoder import SslEncoderTrainer
from metis_jax.training.trainers.visual_encoder import VisualEncoderTrainer

B, T, V = 8, 24, 16

SSL = SslEncoderConfig(
    mel_bins=10, width=16, num_layers=1, hidden_layer=1, num_heads=2, mlp_width=32, conv_width=3, left_context=4,
    right_context=2,
)  # fmt: skip
WHISPER = WhisperEncoderConfig(mel_bins=10, width=16, num_layers=1, hidden_layer=1, num_heads=2, mlp_width=32)
SIGHT = VisualEncoderConfig(
    crop=16, stem_channels=4, width=16, num_layers=1, num_heads=2, mlp_width=32, conv_width=3
)  # fmt: skip
SEMANTIC_CODEC = SemanticCodecConfig(
    feature_width=16, codebook_size=V, code_width=4, width=16, mlp_width=32, num_layers=1
)
ACOUSTIC_CODEC = AcousticCodecConfig(
    encoder_width=4, strides=(8, 5, 4, 3), latent_width=16, num_levels=2, codebook_size=V, code_width=4,
    decoder_width=16, decoder_mlp_width=32, decoder_layers=1,
)  # fmt: skip
DISCRIMINATORS = DiscriminatorConfig(
    periods=(2,), period_channels=(4,), window_lengths=(64,), bands=((0.0, 1.0),), band_channels=2
)
GENERATOR = dict(width=16, num_layers=1, num_heads=2, mlp_width=32)
SEMANTIC = SemanticGeneratorConfig(**GENERATOR, codebook_size=V)
ADAPTED = SemanticGeneratorConfig(**GENERATOR, codebook_size=V, condition="gated", condition_width=16)
ACOUSTIC = AcousticGeneratorConfig(**GENERATOR, num_levels=3, codebook_size=V, semantic_codebook_size=V)

ADAPTERS_ONLY = ((r"params/.*/lora/(down|up)", True), (r"params/condition_adapter/.*", True), (r".*", False))


def optimizer(**changes) -> OptimizerConfig:
    return OptimizerConfig(**(dict(learning_rate=2e-2, schedule="constant", warmup_steps=1, b2=0.99) | changes))


def trainer_and_optimizers(name: str):
    """A small trainer of every kind, and what of it is trained."""
    match name:
        case "ssl_encoder":
            trainer = SslEncoderTrainer(
                ssl_encoder=SSL, num_codebooks=2, codebook_size=V, span=4, start_probability=0.1
            )
            return trainer, {name: optimizer(learning_rate=1e-2) for name in ("ssl_encoder", "head")}
        case "semantic_codec":
            trainer = SemanticCodecTrainer(semantic_codec=SEMANTIC_CODEC, ssl_encoder=SSL)
            # The betas of its config: with longer memories the codes run away from a reconstruction of weight 32.
            return trainer, {"semantic_codec": optimizer(learning_rate=2e-3, b1=0.5, b2=0.9)}
        case "phonetic_codec":
            head = PhoneHeadConfig(feature_width=16, phone_vocabulary=V, width=16, mlp_width=32, num_layers=1)
            codec = dataclasses.replace(SEMANTIC_CODEC, reconstruction_weight=1.0)
            trainer = PhoneticCodecTrainer(semantic_codec=codec, ssl_encoder=WHISPER, phone_head=head)
            return trainer, {
                "semantic_codec": optimizer(learning_rate=5e-3),
                "phone_head": optimizer(learning_rate=5e-3),
            }
        case "visual_encoder":
            head = LipHeadConfig(
                feature_width=16, ssl_width=16, phone_vocabulary=V, width=16, mlp_width=32, num_layers=1
            )
            trainer = VisualEncoderTrainer(visual_encoder=SIGHT, ssl_encoder=SSL, lip_head=head)
            return trainer, {name: optimizer(learning_rate=5e-3) for name in ("visual_encoder", "lip_head")}
        case "acoustic_codec":
            trainer = AcousticCodecTrainer(acoustic_codec=ACOUSTIC_CODEC, discriminators=DISCRIMINATORS)
            return trainer, {"acoustic_codec": optimizer(learning_rate=3e-3), "discriminators": optimizer()}
        case "source_filter":
            config = dataclasses.replace(ACOUSTIC_CODEC, decoder="source_filter", n_fft=480)
            return AcousticCodecTrainer(acoustic_codec=config), {"acoustic_codec": optimizer(learning_rate=3e-3)}
        case "pretrain":
            return SemanticGeneratorTrainer(generator=SEMANTIC), {"semantic_generator": optimizer()}
        case "finetune":
            trainer = SemanticGeneratorTrainer(generator=ADAPTED, ssl_encoder=SSL, semantic_codec=SEMANTIC_CODEC)
            return trainer, {"semantic_generator": optimizer()}
        case "lora":
            trainer = SemanticGeneratorTrainer(
                generator=ADAPTED,
                lora=LoraConfig(rank=2, alpha=4.0, dropout=0.1),
                ssl_encoder=SSL,
                semantic_codec=SEMANTIC_CODEC,
            )
            return trainer, {"semantic_generator": optimizer(trainable=ADAPTERS_ONLY)}
        case "stage2_first":
            config = AcousticGeneratorConfig(**GENERATOR, num_levels=1, codebook_size=V, semantic_codebook_size=V)
            return AcousticGeneratorTrainer(generator=config, first_level=0), {"acoustic_generator": optimizer()}
        case "stage2_full":
            return AcousticGeneratorTrainer(generator=ACOUSTIC), {"acoustic_generator": optimizer()}
    raise ValueError(name)


TRAINERS = (
    "ssl_encoder", "semantic_codec", "phonetic_codec", "visual_encoder", "acoustic_codec", "source_filter", "pretrain",
    "finetune", "lora", "stage2_first", "stage2_full",
)  # fmt: skip


def batch_for(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """A batch as `metis_jax/data/batches/` makes it, with rows of several lengths."""
    rng = np.random.default_rng(seed)
    lengths = np.array([T, T - 1, T - 5, T, T - 8, T, T - 2, T], np.int32)
    batch = {"lengths": lengths}
    tokens = (np.arange(T)[None] + rng.integers(0, V, (B, 1))) % V

    def wave(samples: int, rate: int) -> np.ndarray:
        at = np.arange(samples)[None] / rate
        pitch = rng.uniform(150, 400, (B, 1)) * (1 + 0.2 * np.sin(2 * np.pi * 3 * at))
        return (0.3 * np.sin(2 * np.pi * np.cumsum(pitch, axis=1) / rate)).astype(np.float32)

    if name in ("pretrain", "stage2_first", "stage2_full"):
        batch["tokens"] = tokens.astype(np.int32)
        if name != "pretrain":
            batch["acoustic_tokens"] = ((tokens[:, :, None] * [1, 3, 5]) % V).astype(np.int32)
        return batch
    if name in ("acoustic_codec", "source_filter"):
        return batch | {"wave": wave(480 * T, 24_000), "wave_lengths": 480 * lengths}
    samples = (320 * lengths + 240).astype(np.int32)
    # Not a pure tone: in bands without any power a log-mel spectrum would be that of rounding.
    target = wave(320 * T + 240, 16_000)
    target += 1e-3 * rng.standard_normal(target.shape).astype(np.float32)
    if name in ("ssl_encoder", "semantic_codec"):
        return batch | {"wave": target, "wave_lengths": samples}
    noise = 0.05 * rng.standard_normal(target.shape)
    batch |= {"target": target, "source": (target + noise).astype(np.float32), "source_lengths": samples}
    batch |= {"has_source": np.ones(B, bool), "task": np.zeros(B, np.int32)}
    if name == "visual_encoder":
        phones, counts = rng.integers(5, V, (B, 4)).astype(np.int32), np.full(B, 4, np.int32)
        mouths = rng.integers(0, 256, (B, T // 2, 16, 16)).astype(np.uint8)
        batch = {"target": target, "target_lengths": samples, "lengths": lengths, "mouths": mouths}
        return batch | {"visual_lengths": (lengths + 1) // 2, "phones": phones, "phone_lengths": counts}
    if name == "phonetic_codec":
        # Four phones a row, of which half of the rows know the bounds.
        bounds = lengths[:, None] * np.linspace(0.1, 0.9, 5)[None, :] * (np.arange(B)[:, None] % 2)
        phones, counts = rng.integers(5, V, (B, 4)).astype(np.int32), np.full(B, 4, np.int32)
        batch |= {"phones": phones, "phone_lengths": counts, "phone_bounds": bounds.astype(np.float32)}
        return batch | {"target_lengths": samples}
    # A prompt fills five frames in front of its target, and has four tokens.
    starts = np.array([0, 0, 5, 5, 0, 0, 0, 0], np.int32)
    return batch | {
        "target_lengths": samples - 320 * starts,
        "target_starts": starts,
        "prompt_wave": np.where(starts[:, None] > 0, batch["source"][:, :1600], np.float32(0)),
        "prompt_wave_lengths": 320 * starts,
        "prompt_lengths": np.array([0, 0, 4, 4, -1, -1, 0, 0], np.int32),
    }

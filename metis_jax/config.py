"""Frozen configurations, one per model.  Defaults are the authors' published sizes; `SIZES` names the others.

Sizes that no model can have are refused here; `sections.py` reads the configurations from mappings.
"""

import dataclasses
import math
from typing import Any

from metis_jax.clock import CODEC_RATE, SSL_RATE


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


_LARGEST_SIZE = 1 << 20
_MOST_LAYERS = 1000


def check_sizes(config: Any, *, zero: tuple[str, ...] = ()) -> None:
    """ValueError for a size that no model has; integers are at least 1, or 0 where `zero` names them, as are numbers.

    Larger ones than any machine computes with are refused here too, before anything is allocated or traced for them.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        sizes = value if isinstance(value, tuple) else (value,)
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, int | float):
                continue
            least = 0 if field.name in zero or isinstance(size, float) else 1
            most = _MOST_LAYERS if field.name.endswith("layers") else _LARGEST_SIZE
            _require(least <= size <= most, f"{field.name} is {value}; expected {least} to {most}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SslEncoderConfig:
    """w2v-BERT 2.0 (arXiv 2312.05187): a Conformer over stacked log-mel frames.

    `num_layers` is what a checkpoint holds, `hidden_layer` how many of them are run: index 17 feeds Metis.
    `dropout` is applied to what every sub-module adds to the residual, in training alone.
    """

    sample_rate: int = SSL_RATE
    mel_bins: int = 80
    frame_stack: int = 2
    width: int = 1024
    num_layers: int = 24
    hidden_layer: int = 17
    num_heads: int = 16
    mlp_width: int = 4096
    conv_width: int = 31
    left_context: int = 64
    right_context: int = 8
    dropout: float = 0.0

    def __post_init__(self):
        check_sizes(self, zero=("hidden_layer", "left_context", "right_context"))
        _require(
            self.width % self.num_heads == 0, f"width {self.width} is not a multiple of num_heads {self.num_heads}"
        )
        _require(
            0 <= self.hidden_layer <= self.num_layers,
            f"hidden_layer {self.hidden_layer} is outside 0..num_layers = {self.num_layers}",
        )

    @property
    def input_width(self) -> int:
        return self.mel_bins * self.frame_stack

    @property
    def feature_width(self) -> int:
        return self.width

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads

    @property
    def hop(self) -> int:
        """Samples per output frame: 10 ms log-mel frames, stacked."""
        return self.sample_rate // 100 * self.frame_stack

    @property
    def frame_rate(self) -> int:
        return self.sample_rate // self.hop


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhisperEncoderConfig:
    """The encoder of Whisper (arXiv 2212.04356); the defaults are openai/whisper-tiny, 50 frames a second.

    `num_layers` is what a checkpoint holds, `hidden_layer` how many of them are run.  It can be an SSL encoder's stead:
    phonetic features of an encoder that was there, where w2v-BERT is too large.
    """

    sample_rate: int = SSL_RATE
    mel_bins: int = 80
    width: int = 384
    num_layers: int = 4
    hidden_layer: int = 3
    num_heads: int = 6
    mlp_width: int = 1536

    def __post_init__(self):
        check_sizes(self, zero=("hidden_layer",))
        _require(
            self.width % self.num_heads == 0, f"width {self.width} is not a multiple of num_heads {self.num_heads}"
        )
        _require(
            0 <= self.hidden_layer <= self.num_layers,
            f"hidden_layer {self.hidden_layer} is outside 0..num_layers = {self.num_layers}",
        )

    @property
    def input_width(self) -> int:
        return self.mel_bins

    @property
    def feature_width(self) -> int:
        return self.width

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads

    @property
    def hop(self) -> int:
        """Samples per output frame: two log-mel frames of 10 ms."""
        return self.sample_rate // 50


# What can stand as `ssl_encoder`: 50 frames a second of 16 kHz waves.
AnySslEncoderConfig = SslEncoderConfig | WhisperEncoderConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemanticCodecConfig:
    """VQ autoencoder over SSL features (MaskGCT section 3.2.1; reference RepCodec).

    Attributes:
      reconstruction_weight, commitment_weight, codebook_weight: of the losses.  The paper does not say them; these are
        those of its authors' trainer of the same codec (Amphion, `models/codec/vevo/vqvae_trainer.py` and RepCodec).
    """

    feature_width: int = 1024
    codebook_size: int = 8192
    code_width: int = 8
    width: int = 384
    mlp_width: int = 2048
    num_layers: int = 12
    reconstruction_weight: float = 32.0
    commitment_weight: float = 0.15
    codebook_weight: float = 1.0

    def __post_init__(self):
        check_sizes(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhoneHeadConfig:
    """What a semantic codec is asked while it learns: ConvNeXt blocks between its codes and phones."""

    feature_width: int = 1024
    phone_vocabulary: int = 1024
    width: int = 256
    mlp_width: int = 768
    num_layers: int = 2

    def __post_init__(self):
        check_sizes(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LipHeadConfig:
    """What a visual encoder is asked while it learns: ConvNeXt blocks from lip features to SSL features and phones."""

    feature_width: int = 768
    ssl_width: int = 1024
    phone_vocabulary: int = 1024
    width: int = 512
    mlp_width: int = 1536
    num_layers: int = 2

    def __post_init__(self):
        check_sizes(self)


ACOUSTIC_ENCODERS = ("wave", "spectrum")
ACOUSTIC_DECODERS = ("vocos", "source_filter")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AcousticCodecConfig:
    """24 kHz residual codec: DAC-style encoder, factorized RVQ, Vocos decoder (MaskGCT section 3.2.3).

    Attributes:
      encoder: "wave" for the paper's convolutions over samples, or "spectrum" for ConvNeXt blocks over log-mel spectra,
        which do all their work at the frame rate: what a small model can afford.
      encoder_width: of the first convolution over samples, or of the blocks over spectra.
      encoder_layers: ConvNeXt blocks of the "spectrum" encoder; the other has one block per stride.
      decoder: "vocos" for the paper's free magnitudes and phases, or "source_filter" for filtered pulses and noise,
        whose harmonics are sharp without discriminators.
      residual_weight: of the share of the latents' power that the quantizer leaves over.  0 in the paper, where a level
        learns what to subtract only by what the decoder makes of it; that takes longer than a small budget.
    """

    sample_rate: int = CODEC_RATE
    encoder: str = "wave"
    encoder_width: int = 96
    encoder_layers: int = 0
    strides: tuple[int, ...] = (3, 4, 5, 8)
    latent_width: int = 256
    num_levels: int = 12
    codebook_size: int = 1024
    code_width: int = 8
    decoder: str = "vocos"
    decoder_width: int = 512
    decoder_mlp_width: int = 4096
    decoder_layers: int = 30
    n_fft: int = 1920
    quantizer_dropout: float = 0.5
    commitment_weight: float = 0.25
    codebook_weight: float = 1.0
    residual_weight: float = 0.0

    def __post_init__(self):
        check_sizes(self, zero=("encoder_layers",))
        _require(self.strides != (), "strides is empty; expected at least one")
        _require(self.hop <= _LARGEST_SIZE, f"strides multiply to {self.hop}; expected at most {_LARGEST_SIZE}")
        _require(
            self.n_fft % 2 == 0 and self.n_fft >= self.hop,
            f"n_fft is {self.n_fft}; expected an even number, of at least the {self.hop} that strides multiply to",
        )
        _require(self.encoder in ACOUSTIC_ENCODERS, f"encoder is {self.encoder!r}; use one of {ACOUSTIC_ENCODERS}")
        _require(self.decoder in ACOUSTIC_DECODERS, f"decoder is {self.decoder!r}; use one of {ACOUSTIC_DECODERS}")
        _require(
            (self.encoder == "wave") == (self.encoder_layers == 0),
            f"encoder_layers is {self.encoder_layers}; the encoder {self.encoder!r} takes "
            + ("0, it has a block per stride" if self.encoder == "wave" else "at least 1"),
        )
        _require(
            (self.encoder, self.decoder) == ("wave", "vocos") or self.hop % 4 == 0,
            f"strides multiply to {self.hop}; encoder 'spectrum' and decoder 'source_filter' need a multiple of 4",
        )

    @property
    def hop(self) -> int:
        return math.prod(self.strides)

    @property
    def frame_rate(self) -> float:
        return self.sample_rate / self.hop


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Bidirectional Llama with time-conditioned RMSNorm (reference DiffLlama, DiffLlamaPrefix)."""

    width: int
    num_layers: int
    num_heads: int
    mlp_width: int
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-6

    def __post_init__(self):
        check_sizes(self)
        _require(
            self.width % self.num_heads == 0, f"width {self.width} is not a multiple of num_heads {self.num_heads}"
        )
        _require(self.head_width % 2 == 0, f"head width {self.head_width} is odd; rotary positions need it even")

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads


CONDITION_KINDS = ("none", "gated", "plain")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemanticGeneratorConfig:
    """Stage 1: SSL tokens by masked generative modelling (Metis section 3; reference MetisStage1, MaskGCT_T2S).

    Attributes:
      phone_vocabulary: 0 for a model without a phone prefix (Metis base, speech tasks); 1024 in the release.
      condition: "none", "gated" (speech tasks, Omni) or "plain" (lip-to-speech).
      condition_width: width of the frame-aligned condition features.
      spread_phones: rotary positions of the phones are spread over the frames (arXiv 2509.11084), to where they are
        said if that is known, and evenly if not; in the paper phones and frames are counted through.
    """

    width: int = 1536
    num_layers: int = 16
    num_heads: int = 16
    mlp_width: int = 6144
    codebook_size: int = 8192
    phone_vocabulary: int = 0
    condition: str = "none"
    condition_width: int = 1024
    spread_phones: bool = False

    def __post_init__(self):
        check_sizes(self, zero=("phone_vocabulary",))
        _require(
            self.condition in CONDITION_KINDS,
            f"condition is {self.condition!r}; use one of {', '.join(CONDITION_KINDS)}",
        )
        _ = self.transformer  # which refuses what does not fit

    @property
    def transformer(self) -> TransformerConfig:
        return TransformerConfig(
            width=self.width, num_layers=self.num_layers, num_heads=self.num_heads, mlp_width=self.mlp_width
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AcousticGeneratorConfig:
    """Stage 2: acoustic tokens from SSL tokens, level by level (MaskGCT section 3.2.3; reference MaskGCT_S2A).

    `num_levels` is 1 for the model of the first level and 12 for the model of levels 2..12, which also embeds level 1.
    """

    width: int = 1024
    num_layers: int = 16
    num_heads: int = 16
    mlp_width: int = 4096
    num_levels: int = 12
    codebook_size: int = 1024
    semantic_codebook_size: int = 8192

    def __post_init__(self):
        check_sizes(self)
        _ = self.transformer  # which refuses what does not fit

    @property
    def transformer(self) -> TransformerConfig:
        return TransformerConfig(
            width=self.width, num_layers=self.num_layers, num_heads=self.num_heads, mlp_width=self.mlp_width
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters on the seven projections of every block (arXiv 2106.09685); scale = alpha / rank."""

    rank: int = 32
    alpha: float = 64.0
    dropout: float = 0.01

    def __post_init__(self):
        _require(self.rank > 0, f"lora.rank is {self.rank}; use a positive rank")
        check_sizes(self)
        _require(self.dropout < 1, f"lora.dropout is {self.dropout}; expected less than 1")

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisualEncoderConfig:
    """Lip features: 3-D convolution, ResNet-18, relative-position Conformer (arXiv 2303.14307)."""

    crop: int = 88
    frame_rate: int = 25
    stem_channels: int = 64
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    conv_width: int = 31

    def __post_init__(self):
        check_sizes(self)
        _require(
            self.width % self.num_heads == 0, f"width {self.width} is not a multiple of num_heads {self.num_heads}"
        )

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class DurationPredictorConfig:
    """How long phones last: ConvNeXt blocks over a phone sequence.  Ours: the authors released none."""

    phone_vocabulary: int = 1024
    width: int = 256
    mlp_width: int = 1024
    num_layers: int = 4

    def __post_init__(self):
        check_sizes(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Multi-period and multi-band multi-scale STFT discriminators (arXiv 2306.06546 section 3.3)."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    window_lengths: tuple[int, ...] = (2048, 1024, 512)
    bands: tuple[tuple[float, float], ...] = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))
    band_channels: int = 32

    def __post_init__(self):
        check_sizes(self)


_TINY_GENERATOR = {"width": 64, "num_layers": 3, "num_heads": 4, "mlp_width": 256}

# Sizes other than the published ones.  "tiny" runs forward and backward on a CPU in seconds.
SIZES: dict[str, dict[type, Any]] = {
    "tiny": {
        SslEncoderConfig: SslEncoderConfig(width=64, num_layers=4, hidden_layer=3, num_heads=4, mlp_width=128),
        WhisperEncoderConfig: WhisperEncoderConfig(width=32, num_layers=3, hidden_layer=2, num_heads=2, mlp_width=48),
        SemanticCodecConfig: SemanticCodecConfig(
            feature_width=64, codebook_size=128, code_width=4, width=24, mlp_width=48, num_layers=3
        ),
        PhoneHeadConfig: PhoneHeadConfig(feature_width=64, phone_vocabulary=64, width=24, mlp_width=48, num_layers=1),
        LipHeadConfig: LipHeadConfig(
            feature_width=64, ssl_width=64, phone_vocabulary=64, width=24, mlp_width=48, num_layers=1
        ),
        AcousticCodecConfig: AcousticCodecConfig(
            encoder_width=8,
            latent_width=32,
            num_levels=5,
            codebook_size=64,
            decoder_width=48,
            decoder_mlp_width=96,
            decoder_layers=3,
        ),
        SemanticGeneratorConfig: SemanticGeneratorConfig(**_TINY_GENERATOR, codebook_size=128, condition_width=64),
        AcousticGeneratorConfig: AcousticGeneratorConfig(
            **_TINY_GENERATOR, num_levels=5, codebook_size=64, semantic_codebook_size=128
        ),
        VisualEncoderConfig: VisualEncoderConfig(stem_channels=8, width=64, num_layers=2, num_heads=4, mlp_width=128),
        DurationPredictorConfig: DurationPredictorConfig(width=32, mlp_width=64, num_layers=2),
        DiscriminatorConfig: DiscriminatorConfig(
            periods=(2, 3),
            period_channels=(4, 8),
            window_lengths=(256,),
            bands=((0.0, 0.5), (0.5, 1.0)),
            band_channels=4,
        ),
    },
}
SIZES["full"] = {cls: cls() for cls in SIZES["tiny"]}

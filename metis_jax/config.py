"""Frozen configurations, one per model.  Defaults are the authors' published sizes; `SIZES` names the others.

`from_config_dict` is the one door from `ml_collections` (or JSON) into these: it is strict, so that a misspelt key
fails at start-up with the name of the field.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def from_config_dict(cls: type[T], section: Mapping[str, Any], *, where: str = "") -> T:
    """Builds dataclass `cls` from a mapping; an unknown or missing key raises ValueError with the field's name."""
    where = where or cls.__name__
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(section) - set(fields))
    if unknown:
        raise ValueError(f"{where} has no field {unknown[0]!r}; known fields: {', '.join(sorted(fields))}")
    values = {}
    for name, value in section.items():
        for kind in typing.get_args(fields[name].type) or (fields[name].type,):
            if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
                value = from_config_dict(kind, value, where=f"{where}.{name}")
        values[name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


def to_dict(config: Any) -> dict[str, Any]:
    """The inverse of `from_config_dict`, ready for JSON."""
    return dataclasses.asdict(config)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SslEncoderConfig:
    """w2v-BERT 2.0 (arXiv 2312.05187): a Conformer over stacked log-mel frames.

    `num_layers` is what a checkpoint holds, `hidden_layer` how many of them are run: index 17 feeds Metis.
    `dropout` is applied to what every sub-module adds to the residual, in training alone.
    With `has_readout` the features are log-mel frames instead of the normalised hidden state: of every channel of the
    input a share that the state passes, as the masks of speech enhancement do, and for the rest what the state says
    itself.  Not in the paper.
    """

    sample_rate: int = 16000
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
    has_readout: bool = False

    def __post_init__(self):
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
        return self.input_width if self.has_readout else self.width

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

    `num_layers` is what a checkpoint holds, `hidden_layer` how many of them are run.
    """

    sample_rate: int = 16000
    mel_bins: int = 80
    width: int = 384
    num_layers: int = 4
    hidden_layer: int = 3
    num_heads: int = 6
    mlp_width: int = 1536

    def __post_init__(self):
        _require(
            self.width % self.num_heads == 0, f"width {self.width} is not a multiple of num_heads {self.num_heads}"
        )
        _require(
            0 <= self.hidden_layer <= self.num_layers,
            f"hidden_layer {self.hidden_layer} is outside 0..num_layers = {self.num_layers}",
        )

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemanticCodecConfig:
    """VQ autoencoder over SSL features (MaskGCT section 3.2.1; reference RepCodec).

    Attributes:
      encodes_conditions: generators are conditioned on the encoder's output, which lies among the codes, and not on
        the features, as in the paper: what has learned little starts at the token nearest to what is heard.
      reconstruction_weight, commitment_weight, codebook_weight: of the losses.  The paper does not say them; these are
        those of its authors' trainer of the same codec (Amphion, `models/codec/vevo/vqvae_trainer.py` and RepCodec).
    """

    feature_width: int = 1024
    codebook_size: int = 8192
    code_width: int = 8
    width: int = 384
    mlp_width: int = 2048
    num_layers: int = 12
    encodes_conditions: bool = False
    reconstruction_weight: float = 32.0
    commitment_weight: float = 0.15
    codebook_weight: float = 1.0


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

    sample_rate: int = 24000
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
      table_rank: of the token embeddings and of the output layer, where thousands of codes must share what little
        speech there is; 0 in the paper, where they have the model's width.
      spread_phones: the rotary positions of the phones are spread evenly over the frames, so that each begins near
        where it is spoken (arXiv 2509.11084); in the paper phones and frames are counted through.
    """

    width: int = 1536
    num_layers: int = 16
    num_heads: int = 16
    mlp_width: int = 6144
    codebook_size: int = 8192
    phone_vocabulary: int = 0
    condition: str = "none"
    condition_width: int = 1024
    table_rank: int = 0
    spread_phones: bool = False

    def __post_init__(self):
        _require(
            self.condition in CONDITION_KINDS,
            f"condition is {self.condition!r}; use one of {', '.join(CONDITION_KINDS)}",
        )

    @property
    def transformer(self) -> TransformerConfig:
        return TransformerConfig(
            width=self.width, num_layers=self.num_layers, num_heads=self.num_heads, mlp_width=self.mlp_width
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AcousticGeneratorConfig:
    """Stage 2: acoustic tokens from SSL tokens, level by level (MaskGCT section 3.2.3; reference MaskGCT_S2A).

    `num_levels` is 1 for the model of the first level and 12 for the model of levels 2..12, which also embeds level 1.
    `semantic_rank` is that of the SSL token embeddings; 0, as in the paper, gives them the model's width.
    """

    width: int = 1024
    num_layers: int = 16
    num_heads: int = 16
    mlp_width: int = 4096
    num_levels: int = 12
    codebook_size: int = 1024
    semantic_codebook_size: int = 8192
    semantic_rank: int = 0

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

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisualEncoderConfig:
    """Lip features: 3-D convolution, ResNet-18, relative-position Conformer (arXiv 2303.14307)."""

    crop: int = 88
    frame_rate: int = 25
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    conv_width: int = 31

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Multi-period and multi-band multi-scale STFT discriminators (arXiv 2306.06546 section 3.3)."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    window_lengths: tuple[int, ...] = (2048, 1024, 512)
    bands: tuple[tuple[float, float], ...] = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))
    band_channels: int = 32


_TINY_GENERATOR = {"width": 64, "num_layers": 3, "num_heads": 4, "mlp_width": 256}

# Sizes other than the published ones.  "tiny" runs forward and backward on a CPU in seconds.
SIZES: dict[str, dict[type, Any]] = {
    "tiny": {
        SslEncoderConfig: SslEncoderConfig(width=64, num_layers=4, hidden_layer=3, num_heads=4, mlp_width=128),
        WhisperEncoderConfig: WhisperEncoderConfig(width=32, num_layers=3, hidden_layer=2, num_heads=2, mlp_width=48),
        SemanticCodecConfig: SemanticCodecConfig(
            feature_width=64, codebook_size=128, code_width=4, width=24, mlp_width=48, num_layers=3
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
        VisualEncoderConfig: VisualEncoderConfig(width=64, num_layers=2, num_heads=4, mlp_width=128),
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

"""The acoustic codec, one model of ours from two files of the release.

`acoustic_codec/model.safetensors` is the encoder (reference `CodecEncoder`); `model_1.safetensors` the quantizers, the
decoder and its window (reference `CodecDecoder`).
"""

from collections.abc import Mapping, Sequence

from metis_jax.config import AcousticCodecConfig
from metis_jax.convert.rules import Rule, dense_rules
from metis_jax.convert.vocos import backbone_rules, quantizer_rules, weight_norm_rules
from metis_jax.weights.tensor_files import WeightsError

_NUM_UNITS = 3
_DOWN = "block.{block}.block.4.weight_v"
_CODEBOOK = "quantizer.quantizers.{level}.codebook.weight"
_LAYER = "model.backbone.convnext.{layer}.pwconv1.weight"

DECODER_RULES: list[Rule] = [
    *quantizer_rules("quantizer/levels", "quantizer.quantizers.{level}"),
    *backbone_rules("decoder/backbone", "model.backbone"),
    *dense_rules("decoder/out", "model.head.out"),
    Rule("buffers/decoder/window", "model.head.istft.window"),
]


def _alpha(ours: str, official: str) -> Rule:
    return Rule(f"params/{ours}/alpha", f"{official}.alpha", "alpha")


def encoder_rules(config: AcousticCodecConfig) -> list[Rule]:
    result = weight_norm_rules("encoder/in", "block.0")
    for i in range(len(config.strides)):
        block, official = f"encoder/block_{i}", f"block.{i + 1}.block"
        for j in range(_NUM_UNITS):
            unit, place = f"{block}/unit_{j}", f"{official}.{j}.block"
            result += [_alpha(f"{unit}/snake_in", f"{place}.0"), _alpha(f"{unit}/snake_out", f"{place}.2")]
            result += weight_norm_rules(f"{unit}/conv", f"{place}.1") + weight_norm_rules(f"{unit}/out", f"{place}.3")
        result.append(_alpha(f"{block}/snake", f"{official}.{_NUM_UNITS}"))
        result += weight_norm_rules(f"{block}/down", f"{official}.{_NUM_UNITS + 1}")
    last = len(config.strides) + 1
    return [*result, _alpha("encoder/snake", f"block.{last}"), *weight_norm_rules("encoder/out", f"block.{last + 1}")]


def rules(config: AcousticCodecConfig) -> list[Rule]:
    """Of both files; WeightsError for an encoder or decoder that the release has not."""
    if (config.encoder, config.decoder) != ("wave", "vocos"):
        raise WeightsError(
            "the authors' layout has no place for an acoustic codec with encoder "
            f"{config.encoder!r} and decoder {config.decoder!r}"
        )
    return [*encoder_rules(config), *DECODER_RULES]


def config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> AcousticCodecConfig:
    """From the shapes of both files together; kernels are two strides wide."""
    num_blocks = sum(name.startswith("block.") and name.endswith(".block.4.weight_v") for name in shapes)
    codebook_size, code_width = shapes[_CODEBOOK.format(level=0)]
    mlp_width, width = shapes[_LAYER.format(layer=0)]
    return AcousticCodecConfig(
        encoder_width=shapes["block.0.bias"][0],
        strides=tuple(shapes[_DOWN.format(block=i + 1)][2] // 2 for i in range(num_blocks)),
        latent_width=shapes[f"block.{num_blocks + 2}.bias"][0],
        num_levels=Rule("", _CODEBOOK).grid(shapes)[0],
        codebook_size=codebook_size,
        code_width=code_width,
        decoder_width=width,
        decoder_mlp_width=mlp_width,
        decoder_layers=Rule("", _LAYER).grid(shapes)[0],
        n_fft=shapes["model.head.istft.window"][0],
    )

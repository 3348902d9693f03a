"""The semantic codec: `semantic_codec/model.safetensors` (reference `RepCodec`)."""

from collections.abc import Mapping, Sequence

from metis_jax.config import SemanticCodecConfig
from metis_jax.convert.rules import Rule, dense_rules
from metis_jax.convert.vocos import backbone_rules, quantizer_rules

_BLOCK = "encoder.0.convnext.{layer}.pwconv1.weight"

RULES: list[Rule] = [
    *(
        rule
        for tower in ("encoder", "decoder")
        for rule in backbone_rules(f"{tower}/backbone", f"{tower}.0") + dense_rules(f"{tower}/out", f"{tower}.1")
    ),
    *quantizer_rules("quantizer", "quantizer.quantizers.0"),
]


def config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> SemanticCodecConfig:
    mlp_width, width = shapes[_BLOCK.format(layer=0)]
    codebook_size, code_width = shapes["quantizer.quantizers.0.codebook.weight"]
    return SemanticCodecConfig(
        feature_width=shapes["encoder.1.weight"][0],
        codebook_size=codebook_size,
        code_width=code_width,
        width=width,
        mlp_width=mlp_width,
        num_layers=Rule("", _BLOCK).grid(shapes)[0],
    )

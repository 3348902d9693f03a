"""w2v-BERT 2.0: `facebook/w2v-bert-2.0/model.safetensors`."""

from collections.abc import Mapping, Sequence

from metis_jax.config import SslEncoderConfig
from metis_jax.convert.rules import Rule, dense_rules, norm_rules

_LAYER = "encoder.layers.{layer}"


def _feed_forward(ours: str, official: str) -> list[Rule]:
    official = f"{_LAYER}.{official}"
    return [
        *norm_rules(f"layers/{ours}/norm", f"{official}_layer_norm"),
        *dense_rules(f"layers/{ours}/in", f"{official}.intermediate_dense"),
        *dense_rules(f"layers/{ours}/out", f"{official}.output_dense"),
    ]


_ATTENTION = {"query": "linear_q", "key": "linear_k", "value": "linear_v", "out": "linear_out"}
_CONV = f"{_LAYER}.conv_module"

RULES: list[Rule] = [
    Rule("params/mask_embedding", "masked_spec_embed"),
    *norm_rules("feature_norm", "feature_projection.layer_norm"),
    *dense_rules("feature_projection", "feature_projection.projection"),
    *_feed_forward("ff1", "ffn1"),
    *norm_rules("layers/attention_norm", f"{_LAYER}.self_attn_layer_norm"),
    *(
        rule
        for ours, official in _ATTENTION.items()
        for rule in dense_rules(f"layers/attention/{ours}", f"{_LAYER}.self_attn.{official}")
    ),
    Rule("params/layers/attention/distance", f"{_LAYER}.self_attn.distance_embedding.weight"),
    *norm_rules("layers/conv/norm", f"{_CONV}.layer_norm"),
    Rule("params/layers/conv/pointwise_in/kernel", f"{_CONV}.pointwise_conv1.weight", "pointwise"),
    Rule("params/layers/conv/depthwise/kernel", f"{_CONV}.depthwise_conv.weight", "conv1d"),
    *norm_rules("layers/conv/depthwise_norm", f"{_CONV}.depthwise_layer_norm"),
    Rule("params/layers/conv/pointwise_out/kernel", f"{_CONV}.pointwise_conv2.weight", "pointwise"),
    *_feed_forward("ff2", "ffn2"),
    *norm_rules("layers/final_norm", f"{_LAYER}.final_layer_norm"),
]


def config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> SslEncoderConfig:
    """Sizes of a checkpoint, with the context to the right and the hidden layer that shapes do not tell.

    The release reads layer 17 of 24; a smaller encoder is read one layer before its last.
    """
    up = f"{_LAYER}.ffn1.intermediate_dense.weight"
    num_layers = Rule("", up).grid(shapes)[0]
    mlp_width, width = shapes[up.format(layer=0)]
    distances, head_width = shapes["encoder.layers.0.self_attn.distance_embedding.weight"]
    stack = SslEncoderConfig.frame_stack
    published = SslEncoderConfig()
    return SslEncoderConfig(
        mel_bins=shapes["feature_projection.layer_norm.weight"][0] // stack,
        width=width,
        num_layers=num_layers,
        hidden_layer=published.hidden_layer if num_layers == published.num_layers else num_layers - 1,
        num_heads=width // head_width,
        mlp_width=mlp_width,
        conv_width=shapes["encoder.layers.0.conv_module.depthwise_conv.weight"][2],
        left_context=distances - 1 - published.right_context,
        right_context=published.right_context,
    )

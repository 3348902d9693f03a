"""The lip reader whose features condition lip-to-speech: visual front end and Conformer of one PyTorch state dict."""

from collections.abc import Mapping, Sequence

from metis_jax.config import VisualEncoderConfig
from metis_jax.convert.rules import Rule, dense_rules, norm_rules
from metis_jax.layers.resnet import BLOCKS_PER_STAGE, STAGES
from metis_jax.weights.bundle import UNUSED

_LAYER = "encoder.encoders.{layer}"
_CONV = f"{_LAYER}.conv_module"


def _batch_norm(ours: str, official: str) -> list[Rule]:
    return [
        *norm_rules(ours, official),
        Rule(f"batch_stats/{ours}/mean", f"{official}.running_mean"),
        Rule(f"batch_stats/{ours}/var", f"{official}.running_var"),
        Rule(f"{UNUSED}/{ours}/count", f"{official}.num_batches_tracked"),
    ]


def _front_end() -> list[Rule]:
    result = [
        Rule("params/frontend/stem/kernel", "frontend.frontend3D.0.weight", "conv3d"),
        *_batch_norm("frontend/stem_norm", "frontend.frontend3D.1"),
    ]
    for stage, (_, stride) in enumerate(STAGES, start=1):
        for block in range(BLOCKS_PER_STAGE):
            ours = f"frontend/stage{stage}_block{block + 1}"
            official = f"frontend.trunk.layer{stage}.{block}"
            for side in (1, 2):
                result.append(Rule(f"params/{ours}/conv{side}/kernel", f"{official}.conv{side}.weight", "conv2d"))
                result.extend(_batch_norm(f"{ours}/norm{side}", f"{official}.bn{side}"))
            if stride != 1 and block == 0:
                result.append(Rule(f"params/{ours}/shortcut/kernel", f"{official}.downsample.0.weight", "conv2d"))
                result.extend(_batch_norm(f"{ours}/shortcut_norm", f"{official}.downsample.1"))
    return result


def _feed_forward(ours: str, suffix: str) -> list[Rule]:
    return [
        *norm_rules(f"layers/{ours}/norm", f"{_LAYER}.norm_ff{suffix}"),
        *dense_rules(f"layers/{ours}/in", f"{_LAYER}.feed_forward{suffix}.w_1"),
        *dense_rules(f"layers/{ours}/out", f"{_LAYER}.feed_forward{suffix}.w_2"),
    ]


def _convolution(ours: str, official: str, layout: str) -> list[Rule]:
    return [
        Rule(f"params/layers/conv/{ours}/kernel", f"{_CONV}.{official}.weight", layout),
        Rule(f"params/layers/conv/{ours}/bias", f"{_CONV}.{official}.bias"),
    ]


_ATTENTION = {"query": "linear_q", "key": "linear_k", "value": "linear_v", "out": "linear_out"}

RULES: list[Rule] = [
    *_front_end(),
    *dense_rules("projection", "proj_encoder"),
    *_feed_forward("ff1", "_macaron"),
    *norm_rules("layers/attention_norm", f"{_LAYER}.norm_mha"),
    *(
        rule
        for ours, official in _ATTENTION.items()
        for rule in dense_rules(f"layers/attention/{ours}", f"{_LAYER}.self_attn.{official}")
    ),
    Rule("params/layers/attention/position/kernel", f"{_LAYER}.self_attn.linear_pos.weight", "linear"),
    Rule("params/layers/attention/content_bias", f"{_LAYER}.self_attn.pos_bias_u"),
    Rule("params/layers/attention/position_bias", f"{_LAYER}.self_attn.pos_bias_v"),
    *norm_rules("layers/conv/norm", f"{_LAYER}.norm_conv"),
    # The misspelt names are the checkpoint's.
    *_convolution("pointwise_in", "pointwise_cov1", "pointwise"),
    *_convolution("depthwise", "depthwise_conv", "conv1d"),
    *_batch_norm("layers/conv/depthwise_norm", f"{_CONV}.norm"),
    *_convolution("pointwise_out", "pointwise_cov2", "pointwise"),
    *_feed_forward("ff2", ""),
    *norm_rules("layers/final_norm", f"{_LAYER}.norm_final"),
    *norm_rules("final_norm", "encoder.after_norm"),
]


def config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> VisualEncoderConfig:
    up = f"{_LAYER}.feed_forward.w_1.weight"
    mlp_width, width = shapes[up.format(layer=0)]
    return VisualEncoderConfig(
        stem_channels=shapes["frontend.frontend3D.0.weight"][0],
        width=width,
        num_layers=Rule("", up).grid(shapes)[0],
        num_heads=shapes["encoder.encoders.0.self_attn.pos_bias_u"][0],
        mlp_width=mlp_width,
        conv_width=shapes["encoder.encoders.0.conv_module.depthwise_conv.weight"][2],
    )

"""The encoder of Whisper: `model.safetensors` of openai/whisper-* as transformers writes it, without the decoder."""

from collections.abc import Mapping, Sequence

from metis_jax.config import WhisperEncoderConfig
from metis_jax.convert.rules import Rule, dense_rules, norm_rules
from metis_jax.weights.bundle import UNUSED

PREFIX = "model.encoder."
_LAYER = f"{PREFIX}layers.{{layer}}"
_HEAD_WIDTH = 64  # in every size that was released


def _conv_rules(name: str) -> list[Rule]:
    return [
        Rule(f"params/{name}/kernel", f"{PREFIX}{name}.weight", "conv1d"),
        Rule(f"params/{name}/bias", f"{PREFIX}{name}.bias"),
    ]


RULES: list[Rule] = [
    *_conv_rules("conv1"),
    *_conv_rules("conv2"),
    # Sinusoids, which we compute.
    Rule(f"{UNUSED}/positions", f"{PREFIX}embed_positions.weight"),
    *norm_rules("layers/attention_norm", f"{_LAYER}.self_attn_layer_norm"),
    *dense_rules("layers/query", f"{_LAYER}.self_attn.q_proj"),
    Rule("params/layers/key/kernel", f"{_LAYER}.self_attn.k_proj.weight", "linear"),
    *dense_rules("layers/value", f"{_LAYER}.self_attn.v_proj"),
    *dense_rules("layers/out", f"{_LAYER}.self_attn.out_proj"),
    *norm_rules("layers/mlp_norm", f"{_LAYER}.final_layer_norm"),
    *dense_rules("layers/mlp_in", f"{_LAYER}.fc1"),
    *dense_rules("layers/mlp_out", f"{_LAYER}.fc2"),
    # Behind the last layer; states are normalised by statistics instead.
    Rule(f"{UNUSED}/final_norm/scale", f"{PREFIX}layer_norm.weight"),
    Rule(f"{UNUSED}/final_norm/bias", f"{PREFIX}layer_norm.bias"),
]


def config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> WhisperEncoderConfig:
    """Sizes of a checkpoint, read one layer before its last, whose features say the most about phones."""
    up = f"{_LAYER}.fc1.weight"
    num_layers = Rule("", up).grid(shapes)[0]
    mlp_width, width = shapes[up.format(layer=0)]
    return WhisperEncoderConfig(
        mel_bins=shapes[f"{PREFIX}conv1.weight"][1],
        width=width,
        num_layers=num_layers,
        hidden_layer=num_layers - 1,
        num_heads=width // _HEAD_WIDTH,
        mlp_width=mlp_width,
    )

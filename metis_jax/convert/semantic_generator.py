"""Stage 1: `metis_base`, `metis_se`, … and their task adapters (reference `MetisStage1`, `MaskGCT_T2S`)."""

from collections.abc import Mapping, Sequence

from metis_jax.config import LoraConfig, SemanticGeneratorConfig
from metis_jax.convert.rules import Rule, dense_rules
from metis_jax.convert.transformer import LORA_RULES, TRANSFORMER_RULES, mlp_rules, num_heads

_GATE = "cond_adapter.gate_scale"


def _gated_rules(prefix: str = "") -> list[Rule]:
    official = f"{prefix}cond_adapter"
    return [
        *mlp_rules("condition_adapter/mlp", f"{official}.in_linear", f"{official}.out_linear"),
        Rule("params/condition_adapter/gate", f"{official}.gate_scale"),
    ]


# The files `*_lora_R.safetensors` and `*_lora_R_adapter.safetensors` together.
ADAPTER_RULES: list[Rule] = [*LORA_RULES, *_gated_rules("model.")]


def rules(config: SemanticGeneratorConfig) -> list[Rule]:
    result = [
        Rule("params/mask_embedding", "mask_emb.weight", "row"),
        Rule("params/token_embedding/table", "cond_emb.weight"),
        *dense_rules("to_logits", "to_logit"),
        *TRANSFORMER_RULES,
    ]
    if config.phone_vocabulary:
        result.append(Rule("params/phone_embedding/table", "phone_emb.weight"))
        result.extend(mlp_rules("phone_mlp", "diff_estimator.cond_mlp.0", "diff_estimator.cond_mlp.2"))
    if config.condition == "gated":
        result.extend(_gated_rules())
    if config.condition == "plain":
        result.extend(mlp_rules("condition_adapter/mlp", "cond_adapter.0", "cond_adapter.2"))
    return result


def config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> SemanticGeneratorConfig:
    gate = "diff_estimator.layers.{layer}.mlp.gate_proj.weight"
    grid = Rule("", gate).grid(shapes)
    mlp_width, width = shapes[gate.format(layer=0)]
    condition, condition_width = "none", SemanticGeneratorConfig.condition_width
    if _GATE in shapes:
        condition, condition_width = "gated", shapes["cond_adapter.in_linear.weight"][1]
    elif "cond_adapter.0.weight" in shapes:
        condition, condition_width = "plain", shapes["cond_adapter.0.weight"][1]
    return SemanticGeneratorConfig(
        width=width,
        num_layers=grid[0],
        num_heads=num_heads(width),
        mlp_width=mlp_width,
        codebook_size=shapes["cond_emb.weight"][0],
        phone_vocabulary=shapes["phone_emb.weight"][0] if "phone_emb.weight" in shapes else 0,
        condition=condition,
        condition_width=condition_width,
    )


def lora_from_shapes(shapes: Mapping[str, Sequence[int]]) -> LoraConfig:
    """Rank from the files; the release always has alpha = 2 rank."""
    rank = shapes[LORA_RULES[0].official.format(layer=0)][0]
    return LoraConfig(rank=rank, alpha=2.0 * rank)

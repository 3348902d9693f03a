"""Stage 2: `s2a_model_1layer` and `s2a_model_full` (reference `MaskGCT_S2A`)."""

from collections.abc import Mapping, Sequence

from metis_jax.config import AcousticGeneratorConfig
from metis_jax.convert.rules import Rule
from metis_jax.convert.transformer import TRANSFORMER_RULES, mlp_rules, num_heads
from metis_jax.weights.bundle import UNUSED

RULES: list[Rule] = [
    Rule("params/mask_embedding", "mask_emb.weight", "row"),
    Rule("params/level_embedding/table", "layer_emb.weight"),
    Rule("params/semantic_embedding/table", "cond_emb.weight"),
    Rule("params/token_tables", "token_emb.{level}.weight"),
    Rule("params/logits_kernel", "to_logits.{level}.weight", "linear"),
    Rule("params/logits_bias", "to_logits.{level}.bias"),
    *mlp_rules("condition_mlp", "diff_estimator.cond_mlp.0", "diff_estimator.cond_mlp.2"),
    *TRANSFORMER_RULES,
    # The table of the Llama base class, which has no entries.
    Rule(f"{UNUSED}/embed_tokens", "diff_estimator.embed_tokens.weight"),
]


def config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> AcousticGeneratorConfig:
    gate = "diff_estimator.layers.{layer}.mlp.gate_proj.weight"
    grid = Rule("", gate).grid(shapes)
    mlp_width, width = shapes[gate.format(layer=0)]
    return AcousticGeneratorConfig(
        width=width,
        num_layers=grid[0],
        num_heads=num_heads(width),
        mlp_width=mlp_width,
        num_levels=shapes["layer_emb.weight"][0],
        codebook_size=shapes["token_emb.0.weight"][0],
        semantic_codebook_size=shapes["cond_emb.weight"][0],
    )

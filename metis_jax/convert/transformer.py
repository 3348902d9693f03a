"""Rules of the masked transformer, which both generators share under `diff_estimator` (reference DiffLlama)."""

from metis_jax.convert.rules import Rule, dense_rules

PROJECTIONS = {
    "attention/query": "self_attn.q_proj",
    "attention/key": "self_attn.k_proj",
    "attention/value": "self_attn.v_proj",
    "attention/out": "self_attn.o_proj",
    "mlp/gate": "mlp.gate_proj",
    "mlp/up": "mlp.up_proj",
    "mlp/down": "mlp.down_proj",
}

_LAYER = "diff_estimator.layers.{layer}"
_NORMS = {
    "layers/attention_norm": f"{_LAYER}.input_layernorm",
    "layers/mlp_norm": f"{_LAYER}.post_attention_layernorm",
    "final_norm": "diff_estimator.norm",
}


def mlp_rules(ours: str, first: str, second: str) -> list[Rule]:
    """The two dense layers of a `layers.dense.Mlp`."""
    return dense_rules(f"{ours}/in", first) + dense_rules(f"{ours}/out", second)


TRANSFORMER_RULES: list[Rule] = [
    *(
        Rule(f"params/transformer/layers/{ours}/kernel", f"{_LAYER}.{official}.weight", "linear")
        for ours, official in PROJECTIONS.items()
    ),
    *(
        rule
        for ours, official in _NORMS.items()
        for rule in dense_rules(f"transformer/{ours}/scale", f"{official}.to_weight")
    ),
    *mlp_rules("transformer/time_mlp", "diff_estimator.diff_step_mlp.0", "diff_estimator.diff_step_mlp.2"),
]

# Low-rank adapters as peft saves them: the wrapped model is called `model`, the one adapter `default`.
LORA_RULES: list[Rule] = [
    Rule(f"params/transformer/layers/{ours}/lora/{side}", f"model.{_LAYER}.{official}.{name}.default.weight", "linear")
    for ours, official in PROJECTIONS.items()
    for side, name in (("down", "lora_A"), ("up", "lora_B"))
]


def num_heads(width: int) -> int:
    """Heads cannot be read from shapes: the published generators have 16, reduced ones keep a head width of 16."""
    return max(1, min(16, width // 16))

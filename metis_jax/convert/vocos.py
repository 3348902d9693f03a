"""Rules of the modules that both codecs share: Vocos backbones and factorized quantizers."""

from metis_jax.convert.rules import Rule, dense_rules, norm_rules


def conv_rules(ours: str, official: str) -> list[Rule]:
    """Kernel and bias of one convolution."""
    return [
        Rule(f"params/{ours}/kernel", f"{official}.weight", "conv1d"),
        Rule(f"params/{ours}/bias", f"{official}.bias"),
    ]


def weight_norm_rules(ours: str, official: str) -> list[Rule]:
    """Direction, gain and bias of one weight-normed convolution."""
    return [
        Rule(f"params/{ours}/direction", f"{official}.weight_v", "conv1d"),
        Rule(f"params/{ours}/gain", f"{official}.weight_g", "gain"),
        Rule(f"params/{ours}/bias", f"{official}.bias"),
    ]


def quantizer_rules(ours: str, official: str) -> list[Rule]:
    """One quantizer, or the stack of them when `official` has a placeholder."""
    return [
        Rule(f"params/{ours}/codebook", f"{official}.codebook.weight"),
        *weight_norm_rules(f"{ours}/project_in", f"{official}.in_project"),
        *weight_norm_rules(f"{ours}/project_out", f"{official}.out_project"),
    ]


def backbone_rules(ours: str, official: str) -> list[Rule]:
    """A Vocos backbone with its scanned ConvNeXt blocks."""
    layer, block = f"{ours}/layers", f"{official}.convnext.{{layer}}"
    return [
        *conv_rules(f"{ours}/embed", f"{official}.embed"),
        *norm_rules(f"{ours}/norm", f"{official}.norm"),
        *conv_rules(f"{layer}/conv", f"{block}.dwconv"),
        *norm_rules(f"{layer}/norm", f"{block}.norm"),
        *dense_rules(f"{layer}/up", f"{block}.pwconv1"),
        *dense_rules(f"{layer}/down", f"{block}.pwconv2"),
        Rule(f"params/{layer}/scale", f"{block}.gamma"),
        *norm_rules(f"{ours}/final_norm", f"{official}.final_layer_norm"),
    ]

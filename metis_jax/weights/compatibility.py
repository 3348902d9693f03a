"""Whether the models of a bundle fit one another and the frame arithmetic, asked before any weights are read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metis_jax.clock import CODEC_HOP, CODEC_RATE, SSL_HOP, SSL_RATE
from metis_jax.config import SemanticGeneratorConfig
from metis_jax.weights.bundle import Bundle, kind_of
from metis_jax.weights.tensor_files import WeightsError

# What stands under a name of the chain.
_KINDS_OF = {
    "ssl_encoder": ("ssl_encoder", "whisper_encoder"),
    "semantic_codec": ("semantic_codec",),
    "acoustic_codec": ("acoustic_codec",),
    "acoustic_generator_first": ("acoustic_generator",),
    "acoustic_generator_full": ("acoustic_generator",),
}
# Numbers that the code around the models counts with.
_FIXED = {
    "ssl_encoder": {"sample_rate": SSL_RATE, "hop": SSL_HOP},
    "acoustic_codec": {"sample_rate": CODEC_RATE, "hop": CODEC_HOP},
    "acoustic_generator_first": {"num_levels": 1},
}
CHAIN = tuple(_KINDS_OF)  # what every task of a bundle needs
# (component, field) pairs that are one number.
_EQUAL = (
    (("semantic_codec", "feature_width"), ("ssl_encoder", "feature_width")),
    (("acoustic_generator_first", "semantic_codebook_size"), ("semantic_codec", "codebook_size")),
    (("acoustic_generator_full", "semantic_codebook_size"), ("semantic_codec", "codebook_size")),
    (("acoustic_generator_first", "codebook_size"), ("acoustic_codec", "codebook_size")),
    (("acoustic_generator_full", "codebook_size"), ("acoustic_codec", "codebook_size")),
    (("acoustic_generator_full", "num_levels"), ("acoustic_codec", "num_levels")),
)


def check_models(bundle: Bundle, names: Sequence[str]) -> None:
    """WeightsError unless `names` are in the bundle, with their files, of their kinds, and fit one another."""
    for name in names:
        bundle.file(name)
        found = kind_of(bundle.components[name])
        if found not in _KINDS_OF[name]:
            raise WeightsError(f"{bundle.path}: {name} is a {found}; expected a {' or '.join(_KINDS_OF[name])}")
    configs = {name: bundle.components[name] for name in names}
    for problem in misfits(configs):
        raise WeightsError(f"{bundle.path}: {problem}")


def check_generator(bundle: Bundle, task: str, config: SemanticGeneratorConfig) -> None:
    """WeightsError unless the generator of a task, `config`, speaks the tokens of the bundle and hears its features."""
    codes = bundle.components["semantic_codec"].codebook_size
    if config.codebook_size != codes:
        raise WeightsError(
            f"{bundle.path}: the generator of {task} has {config.codebook_size} codes, the semantic_codec {codes}"
        )
    width = bundle.components["ssl_encoder"].feature_width
    if task in ("se", "tse", "vc") and config.condition_width != width:
        raise WeightsError(
            f"{bundle.path}: the generator of {task} hears features of width {config.condition_width}, "
            f"those of the ssl_encoder have {width}"
        )


def misfits(configs: Mapping[str, Any]) -> Iterator[str]:
    """What of {name in the chain: configuration} does not fit, a line each; some of the names are enough."""
    for name, fields in _FIXED.items():
        for field, expected in fields.items():
            if name in configs and (found := getattr(configs[name], field)) != expected:
                yield f"{name} has {field} {found}; expected {expected}"
    for (name, field), (other, there) in _EQUAL:
        if name in configs and other in configs:
            found, expected = getattr(configs[name], field), getattr(configs[other], there)
            if found != expected:
                yield f"{name} has {field} {found}, but {other} has {there} {expected}"

"""`config.base`: a run begins from the models of one bundle, whatever their sizes."""

from collections.abc import Sequence
from typing import Any

from metis_jax.config import SemanticGeneratorConfig
from metis_jax.sections import from_config_dict, to_dict
from metis_jax.training.starts.initial import DRAWN
from metis_jax.training.trainers.protocol import Trainer
from metis_jax.training.trainers.registry import make_trainer
from metis_jax.weights.bundle import Bundle

GENERATOR, STAGE_2 = "semantic_generator", "acoustic_generator"
_ADAPTER = f"{GENERATOR}/params/condition_adapter/.*"


def begun_from(base: Bundle, section: dict[str, Any]) -> dict[str, Any]:
    """The section, changed in place: sizes of `model`, and what `initial` leaves empty, of `base`."""
    trainer = make_trainer(section["stage"], section["model"])
    initial, model = section["initial"], section["model"]
    for name in trainer.configs():
        there = _component(base, name, trainer, section["tasks"])
        if there is None and initial.get(name) == "":
            raise ValueError(f"{base.path}: config.base has no {name}; give it as config.initial.{name}")
        if there is None or initial.get(name, DRAWN) not in ("", DRAWN):
            continue
        initial[name] = f"{base.path}:{there}"
        config = base.components[there]
        if name == GENERATOR:
            wanted = _generator(base, config, trainer.generator, is_heard=trainer.ssl_encoder is not None)
            had, has = ((one.condition, one.condition_width) for one in (config, wanted))
            if had[0] != "none" and had != has:
                section["skip_initial"] = (*section["skip_initial"], _ADAPTER)
            config = wanted
        model["generator" if name in (GENERATOR, STAGE_2) else name] = to_dict(config)
    return section


def _component(base: Bundle, name: str, trainer: Trainer, tasks: tuple[str, ...]) -> str | None:
    """What a component of a trainer is called in `base`."""
    if name == GENERATOR:
        return generator_for(base, tasks)
    name = trainer.name_in_chain(name)
    return name if name in base.components else None


def generator_for(base: Bundle, tasks: Sequence[str]) -> str | None:
    """The semantic generator from which a run for `tasks` begins: one that serves them, else the pre-trained one."""
    known = base.names(GENERATOR)
    serving = [base.tasks[task].generator for task in tasks if task in base.tasks]
    likely = (*serving, f"{GENERATOR}_base", GENERATOR, *(known if len(known) == 1 else ()))
    return next((one for one in likely if one in known), None)


def _generator(
    base: Bundle, config: SemanticGeneratorConfig, wanted: SemanticGeneratorConfig, *, is_heard: bool
) -> SemanticGeneratorConfig:
    """The generator of `base` with the conditions of the experiment: a heard one is as wide as the base's features."""
    codec = base.components.get("semantic_codec")
    width = codec.feature_width if is_heard and codec is not None else wanted.condition_width
    fields = to_dict(config) | {"condition": wanted.condition, "condition_width": width}
    if not config.phone_vocabulary:
        fields |= {"phone_vocabulary": wanted.phone_vocabulary, "spread_phones": wanted.spread_phones}
    return from_config_dict(SemanticGeneratorConfig, fields)

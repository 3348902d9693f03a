"""The `mini_pipeline_*` goldens, from wave to wave, through a bundle: a part of `metis_jax.parity`."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metis_jax.audio.files import Wave
from metis_jax.clock import CODEC_HOP, SSL_RATE
from metis_jax.inference.jobs import StageSettings
from metis_jax.inference.metis import Metis, Settings
from metis_jax.inference.settings import Speech
from metis_jax.parity.reference import Reference
from metis_jax.weights.bundle_writer import write_bundle

Arrays = Mapping[str, np.ndarray]

_SPECS = {
    "semantic_codec": ("semantic_codec", "mini_semantic_codec"),
    "acoustic_codec": ("acoustic_codec", "mini_acoustic_codec_encoder", "mini_acoustic_codec_decoder"),
    "acoustic_generator_first": ("acoustic_generator", "mini_s2a_model_1layer"),
    "acoustic_generator_full": ("acoustic_generator", "mini_s2a_model_full"),
    "semantic_generator": ("semantic_generator", "mini_stage1"),
}


def _write_mini_bundle(path: Path, task: str, reference: Reference) -> None:
    width = reference.width("mini_w2v_bert", "masked_spec_embed")
    mean = reference.inputs("ssl_mean", (width,), 0.1)
    std = 1 + np.abs(reference.inputs("ssl_std", (width,), 0.1))
    with write_bundle(path, license="none", provenance="random weights") as bundle:
        statistics = {"mean": mean, "var": std**2}
        bundle.add("ssl_encoder", *reference.component("ssl_encoder", "mini_w2v_bert", extra=statistics))
        for name, specs in _SPECS.items():
            bundle.add(name, *reference.component(*specs))
        bundle.task(task, "semantic_generator")


def _settings(config: Mapping[str, Any]) -> Settings:
    """As the golden says, without noise."""
    first, *others = config["stage2_steps"]
    first_guidance, other_guidance = config["stage2_guidance"]
    silent = {"temperature": 0.0, "choice_temperature": 0.0}
    return Settings(
        semantic=StageSettings((config["stage1_steps"],), config["stage1_guidance"], **silent),
        first_level=StageSettings((first,), first_guidance, **silent),
        other_levels=StageSettings(tuple(others), other_guidance, **silent),
    )


def mini_pipeline(golden: Arrays, config: Mapping[str, Any], reference: Reference) -> dict[str, np.ndarray]:
    """Every array of the golden that is not an input; tokens must be equal."""
    task, settings = config["task"], _settings(config)
    source = Wave(golden["source_16k"], SSL_RATE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        _write_mini_bundle(path, task, reference)
        metis = Metis.from_pretrained(path, dtype="float32")
        found = {}
        whole = source.samples
        if task == "se":
            speech = metis.enhance(source, settings=settings)
        else:
            prompt = metis.encode_prompt_waves(golden["prompt_16k"], golden["prompt_24k"])
            found = {"prompt_semantic": prompt.semantic[None], "prompt_acoustic": prompt.acoustic[None]}
            whole = np.concatenate([prompt.wave, whole])
            speak = metis.convert if task == "vc" else metis.extract
            speech = speak(source, prompt, settings=settings)
        found["condition"] = metis.engine.ssl_features([whole])[0][None]
    return found | {
        "semantic": speech.semantic[None],
        "acoustic": speech.acoustic[None],
        "wave": _decoded(speech)[None],
    }


def _decoded(speech: Speech) -> np.ndarray:
    """What the codec made: all but the silence that makes an output as long as its source."""
    decoded, added = np.split(speech.wave.samples, [len(speech.acoustic) * CODEC_HOP])
    return decoded if not added.any() else speech.wave.samples

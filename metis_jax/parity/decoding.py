"""The decoded tokens and mini pipelines of the golden files, computed by ours: a part of `metis_jax.parity`.

Each function gives {array name: our array} for the names of a golden file that it covers.  They were made without
noise, so tokens must be equal; they are computed here in padded batches of two, of which one row is returned.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.config import AcousticGeneratorConfig, SemanticGeneratorConfig
from metis_jax.decoding import generators
from metis_jax.decoding.masked_decode import Decoder, Sampling, Schedule, make_schedule
from metis_jax.models.acoustic_generator import AcousticGenerator
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.types import Variables

Arrays = Mapping[str, np.ndarray]

_PADDING = 5


def _decoder(schedule: Schedule, guidance: float) -> Decoder:
    """Without noise."""
    zero = jnp.float32(0)
    keys = jax.random.split(jax.random.key(0), 2)
    return Decoder(schedule, keys, Sampling(zero, zero, jnp.float32(guidance) if guidance else None))


def _rows(x: np.ndarray) -> jax.Array:
    """Frames of one example, [1, t, …], padded and repeated to two rows of which the second is shorter in `lengths`."""
    width = [(0, 0), (0, _PADDING)] + [(0, 0)] * (x.ndim - 2)
    return jnp.asarray(np.repeat(np.pad(x, width), 2, axis=0))


def _pair(length: int) -> jax.Array:
    return jnp.array([length, length - 1], jnp.int32)


def decoded_semantic(config: SemanticGeneratorConfig, variables: Variables, golden: Arrays) -> dict[str, np.ndarray]:
    """`decoded_steps10_cfg0.0`, `decoded_noprompt_steps10`, … of a `tiny_stage1_*` file."""
    model = SemanticGenerator(config)
    target = int(golden["decode_length"])
    found = {}
    for name in (name for name in golden if name.startswith("decoded")):
        has_prompt = "noprompt" not in name
        steps = int(name.split("steps")[1].split("_")[0])
        guidance = float(name.split("cfg")[1]) if "cfg" in name else 0.0
        prompt = golden["decode_prompt"] if has_prompt else np.zeros((1, 0), np.int32)
        p = prompt.shape[1]
        condition = golden.get("decode_condition" if has_prompt else "decode_condition_noprompt")
        phones = golden.get("decode_phones")
        inputs = generators.SemanticInputs(
            prompt_lengths=jnp.array([p, p], jnp.int32),
            lengths=_pair(p + target),
            phones=None if phones is None else _rows(phones),
            phone_lengths=None if phones is None else jnp.array([phones.shape[1]] * 2, jnp.int32),
            condition=None if condition is None else _rows(condition),
        )
        tokens = _rows(np.pad(prompt, ((0, 0), (0, target)))[:, :, None])
        tokens = generators.run_stage(
            generators.jitted_semantic_steps,
            model,
            variables,
            _decoder(make_schedule((steps,)), guidance),
            inputs,
            tokens,
        )
        found[name] = np.asarray(tokens)[:1, p : p + target, 0]
    return found


def decoded_acoustic(config: AcousticGeneratorConfig, variables: Variables, golden: Arrays) -> dict[str, np.ndarray]:
    """`decoded_cfg2.5`, `decoded_noprompt`, `decoded_given_layer1` of a `tiny_s2a_*` file.

    The one without a prompt decodes the target frames alone; like the one that is given its first level, it is guided.
    """
    model = AcousticGenerator(config)
    steps = [int(n) for n in golden["decode_steps"]]
    semantic, prompt = golden["decode_semantic"], golden["decode_prompt"]
    found = {}
    for name in (name for name in golden if name.startswith("decoded")):
        p = 0 if name == "decoded_noprompt" else prompt.shape[1]
        guidance = float(name.split("cfg")[1]) if "cfg" in name else _GUIDANCE_OF[name]
        own = semantic[:, prompt.shape[1] - p :]
        target = own.shape[1] - p
        tokens = np.zeros((1, p + target, config.num_levels), np.int32)
        tokens[:, :p] = prompt[:, :p]
        first_level = 0
        if name == "decoded_given_layer1":
            first_level = 1
            tokens[:, p:, :1] = golden["given_layer1"]
        inputs = generators.AcousticInputs(jnp.array([p, p], jnp.int32), _pair(p + target), _rows(own))
        schedule = make_schedule(steps[first_level:], first_level=first_level)
        decoded = generators.run_stage(
            generators.jitted_acoustic_steps,
            model,
            variables,
            _decoder(schedule, guidance),
            inputs,
            _rows(tokens),
        )
        found[name] = np.asarray(decoded)[:1, p : p + target]
    return found


_GUIDANCE_OF: dict[str, Any] = {"decoded_noprompt": 0.0, "decoded_given_layer1": 2.5}

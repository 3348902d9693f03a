"""Our value of every array in a golden file, model by model: a part of `metis_jax.parity`.

Each function takes a golden and the reference and gives {array name: Found}.  Arrays of the published size come as
slices and statistics, see `_shown`.  Layouts in the files are the authors': channels before time in the acoustic codec.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.layers.dense import merge_lora
from metis_jax.layers.resnet import VisualFrontEnd
from metis_jax.layers.stack import keep_layers
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.models.acoustic_generator import AcousticGenerator
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.models.ssl_encoder import SslEncoder
from metis_jax.models.visual_encoder import VisualEncoder
from metis_jax.ops.lengths import full_lengths
from metis_jax.ops.mel import emitted_lengths, log_mel
from metis_jax.parity import decoding, pipeline
from metis_jax.parity.reference import Reference
from metis_jax.types import Array, Variables

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Golden:
    """One golden file.

    Attributes:
      name: its name in the index.
      arrays: what it holds.
      config: the authors' configuration.
      is_full: whether it is of the published size.
      seed: what its weights and its drawn inputs were drawn at.
    """

    name: str
    arrays: Arrays
    config: Mapping[str, Any]
    is_full: bool
    seed: int


@dataclasses.dataclass(frozen=True)
class Found:
    """Our value of a golden array; only entries where `where` is true are compared."""

    array: np.ndarray
    where: np.ndarray | None = None


def _call(model, variables: Variables, *inputs: Any, method: str = "__call__", **fields: Any) -> Any:
    """One jitted call; the variables are arguments, or they would be constants of the program."""
    call = jax.jit(lambda variables, inputs: model.apply(variables, *inputs, method=method, **fields))
    return jax.tree.map(np.asarray, call(variables, inputs))


def _lengths(mask: np.ndarray) -> Array:
    return jnp.asarray(mask.astype(np.int32).sum(axis=1))


def _shown(name: str, array: np.ndarray, golden: Golden, where: np.ndarray | None = None) -> dict[str, Found]:
    """An array as the golden shows it: whole, as an evenly spaced slice, or as [mean, std, max |x|, L2 norm]."""
    found = {}
    if name in golden.arrays:
        shown = golden.arrays[name].shape
        found[name] = Found(_sliced(array, shown) if golden.is_full else array, where)
    if f"{name}_slice" in golden.arrays:
        found[f"{name}_slice"] = Found(_sliced(array, golden.arrays[f"{name}_slice"].shape))
    if f"{name}_stats" in golden.arrays:
        x = array.astype(np.float64)
        found[f"{name}_stats"] = Found(np.array([x.mean(), x.std(ddof=1), np.abs(x).max(), np.linalg.norm(x)]))
    return found


def _sliced(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if len(array.shape) != len(shape):
        return array
    return array[tuple(slice(None, None, max(1, n // m)) for n, m in zip(array.shape, shape, strict=True))]


def _hidden_and_logits(golden: Golden, hidden: np.ndarray, logits: np.ndarray) -> dict[str, Found]:
    where = golden.arrays["padding_mask"].astype(bool)[:, :, None] if "padding_mask" in golden.arrays else None
    found = _shown("hidden", hidden, golden, where) | _shown("logits", logits, golden, where)
    if golden.is_full:
        found["argmax"] = Found(logits.argmax(axis=-1))
    return found


def semantic_generator(golden: Golden, reference: Reference) -> dict[str, Found]:
    """Stage 1, with its decoding where the golden has it."""
    config, variables = reference.component("semantic_generator", golden.name)
    found = _semantic_forward(golden, reference, SemanticGenerator(config), variables)
    if "decode_length" in golden.arrays:
        decoded = decoding.decoded_semantic(config, variables, golden.arrays)
        found |= {name: Found(array) for name, array in decoded.items()}
    return found


def _semantic_forward(
    golden: Golden, reference: Reference, model: SemanticGenerator, variables: Variables
) -> dict[str, Found]:
    g, config = golden.arrays, model.config
    b, t = g["tokens"].shape
    given = {"lengths": _lengths(g["padding_mask"]) if "padding_mask" in g else full_lengths(b, t)}
    if config.condition != "none":
        shape = (b, t, config.condition_width)
        given["condition"] = g["condition"] if "condition" in g else reference.inputs("cond", shape)
    if config.phone_vocabulary:
        # The authors' positions count the padding of the phones.
        p = g["phones"].shape[1]
        given |= {"phones": g["phones"], "phone_lengths": _lengths(g["phone_mask"])}
        given["positions"] = np.broadcast_to(np.arange(p + t, dtype=np.float32), (b, p + t))
    is_masked = g["mask"] if "mask" in g else np.zeros((b, t), bool)

    @jax.jit
    def forward(variables: Variables, given: dict[str, Array]) -> tuple[Array, Array]:
        hidden = model.apply(variables, g["tokens"], is_masked, g["timestep"], **given)
        return hidden, model.apply(variables, hidden, method="logits")

    hidden, logits = forward(variables, given)
    return _hidden_and_logits(golden, np.asarray(hidden), np.asarray(logits))


def adapted_generator(golden: Golden, reference: Reference) -> dict[str, Found]:
    """The base with low-rank updates and a condition adapter, unmerged; and one merged kernel."""
    base, variables = reference.component("semantic_generator", "tiny_stage1_base")
    adapter, extra = reference.component("task_adapter", golden.name, f"{golden.name}_adapter", base=base)
    flat = flax.traverse_util.flatten_dict(variables) | flax.traverse_util.flatten_dict(extra)
    variables = flax.traverse_util.unflatten_dict(flat)
    model = SemanticGenerator(adapter.adapted(base), lora=adapter.lora)
    found = _semantic_forward(golden, reference, model, variables)
    query = merge_lora(variables["params"], adapter.lora)["transformer"]["layers"]["attention"]["query"]
    return found | {"merged_q_proj_layer0": Found(np.asarray(query["kernel"])[0].T)}


# The spec files of the published stage 2 have other names than its goldens.
_ACOUSTIC_SPECS = {"s2a_1layer": "s2a_model_1layer", "s2a_full": "s2a_model_full"}


def acoustic_generator(golden: Golden, reference: Reference) -> dict[str, Found]:
    """Stage 2, with its decoding where the golden has it."""
    g = golden.arrays
    config, variables = reference.component("acoustic_generator", _ACOUSTIC_SPECS.get(golden.name, golden.name))
    model = AcousticGenerator(config)
    b, t, _ = g["acoustic_tokens"].shape
    lengths = _lengths(g["padding_mask"]) if "padding_mask" in g else full_lengths(b, t)
    # At the published size every frame is prompt: nothing is masked, at any level.
    is_prompt = np.ones((b, t), bool)
    if "prompt_length" in g:
        is_prompt = np.arange(t)[None, :] < g["prompt_length"][:, None]
    is_masked = g["mask"] if "mask" in g else np.zeros((b, t), bool)
    level = np.full((b,), g["mask_layer"], np.int32)

    @jax.jit
    def forward(variables: Variables) -> tuple[Array, Array]:
        inputs = g["semantic_tokens"], g["acoustic_tokens"], level, is_masked, is_prompt, g["timestep"]
        hidden = model.apply(variables, *inputs, lengths=lengths)
        return hidden, model.apply(variables, hidden, level, method="logits")

    hidden, logits = forward(variables)
    found = _hidden_and_logits(golden, np.asarray(hidden), np.asarray(logits))
    if "decode_prompt" in g:
        decoded = decoding.decoded_acoustic(config, variables, g)
        found |= {name: Found(array) for name, array in decoded.items()}
    return found


def semantic_codec(golden: Golden, reference: Reference) -> dict[str, Found]:
    g = golden.arrays
    config, variables = reference.component("semantic_codec", golden.name)
    model = SemanticCodec(config)
    if golden.is_full:
        features = reference.inputs("semantic_codec", (*g["codes"].shape, config.feature_width))
    else:
        features = g["features"]
    lengths = full_lengths(*features.shape[:2])
    codes, quantized = _call(model, variables, features, lengths, method="quantize")
    return {
        "codes": Found(codes),
        **_shown("encoded", _call(model, variables, features, lengths, method="latents"), golden),
        **_shown("quantized", quantized, golden),
        **_shown("reconstruction", _call(model, variables, quantized, lengths, method="decode"), golden),
    }


def acoustic_codec(golden: Golden, reference: Reference) -> dict[str, Found]:
    g = golden.arrays
    stem = golden.name if golden.is_full else golden.name.removesuffix("_codec")
    config, variables = reference.component("acoustic_codec", f"{stem}_encoder", f"{stem}_decoder")
    model = AcousticCodec(config)
    shape = (1, g["codes"].shape[1] * config.hop)
    wave = g["waveform"] if "waveform" in g else reference.inputs("waveform", shape, 0.1)
    lengths = full_lengths(*wave.shape)
    latents, frame_lengths = _call(model, variables, wave, lengths, method="latents")
    quantized = _call(model, variables, latents, frame_lengths, method="quantize")
    embedding = _call(model, variables, quantized.codes, method="embed")
    reconstruction = _call(model, variables, embedding, frame_lengths, method="decode")
    found = {
        "codes": Found(quantized.codes),
        **_shown("latents", latents.mT, golden),
        **_shown("quantized", quantized.quantized.mT, golden),
        **_shown("embedding", embedding.mT, golden),
        **_shown("reconstruction", reconstruction, golden),
    }
    if "embedding_first2" in g:
        two = _call(model, variables, quantized.codes, method="embed", num_levels=2)
        found["embedding_first2"] = Found(two.mT)
    if "waveform_odd" in g:
        odd = g["waveform_odd"]
        latents, _ = _call(model, variables, odd, full_lengths(*odd.shape), method="latents")
        found["latents_odd"] = Found(latents.mT)
    return found


def logmel(golden: Golden, reference: Reference) -> dict[str, Found]:
    """The features of both waves, and which of their frames the attention may see."""
    found = {}
    for case in ("even", "odd"):
        wave = golden.arrays[f"waveform_{case}"][None]
        features, lengths = log_mel(jnp.asarray(wave), full_lengths(*wave.shape))
        frames = int(emitted_lengths(full_lengths(*wave.shape))[0])
        found[f"features_{case}"] = Found(np.asarray(features)[0, :frames])
        found[f"is_valid_{case}"] = Found((np.arange(frames) < int(lengths[0])).astype(np.int32))
    return found


def ssl_encoder(golden: Golden, reference: Reference) -> dict[str, Found]:
    """Every hidden state the golden has, each by a model of so many layers."""
    g = golden.arrays
    width = reference.width(golden.name, "masked_spec_embed")
    statistics = {"mean": np.zeros(width, np.float32), "var": np.ones(width, np.float32)}
    config, variables = reference.component("ssl_encoder", golden.name, extra=statistics)
    if golden.is_full:
        features = reference.inputs("w2v_bert", (1, 48, config.input_width))
        lengths, where = full_lengths(1, 48), None
    else:
        features, lengths, where = g["features"], _lengths(g["is_valid"]), g["is_valid"][:, :, None]
    found = {}
    for layer in range(config.num_layers + 1):
        name = f"hidden{layer}"
        shown = [array for array in g if array in (name, f"{name}_slice", f"{name}_stats")]
        if layer == config.num_layers and "last_slice" in g:
            name, shown = "last", ["last_slice"]
        if not shown:
            continue
        model = SslEncoder(dataclasses.replace(config, hidden_layer=layer))
        kept = variables | {"params": keep_layers(variables["params"], layer)}
        hidden = _call(model, kept, features, lengths, deterministic=True)
        found |= _shown(name, hidden, golden, where)
    return found


def visual_encoder(golden: Golden, reference: Reference) -> dict[str, Found]:
    config, variables = reference.component("visual_encoder", golden.name)
    b, t = golden.arrays["encoded"].shape[:2]
    video = reference.inputs("video", (b, t, 1, config.crop, config.crop)).transpose(0, 1, 3, 4, 2)
    lengths = full_lengths(b, t)
    front_end = {name: variables[name]["frontend"] for name in ("params", "batch_stats")}
    return {
        "frontend": Found(_call(VisualFrontEnd(), front_end, video, lengths, train=False)),
        "encoded": Found(_call(VisualEncoder(config), variables, video, lengths, train=False)),
    }


def mini_pipeline(golden: Golden, reference: Reference) -> dict[str, Found]:
    """A task from wave to wave."""
    found = pipeline.mini_pipeline(golden.arrays, golden.config, reference)
    return {name: Found(array) for name, array in found.items()}


Check = Callable[[Golden, Reference], dict[str, Found]]

# {golden: what computes it}
CHECKS: dict[str, Check] = {
    "logmel": logmel,
    "tiny_w2v_bert": ssl_encoder,
    "tiny_semantic_codec": semantic_codec,
    "tiny_acoustic_codec": acoustic_codec,
    "tiny_visual_encoder": visual_encoder,
    **{f"tiny_stage1_{task}": semantic_generator for task in ("base", "tts", "se", "l2s", "omni")},
    "tiny_stage1_lora4": adapted_generator,
    "tiny_s2a_1layer": acoustic_generator,
    "tiny_s2a_full": acoustic_generator,
    **{f"mini_pipeline_{task}": mini_pipeline for task in ("se", "vc", "tse")},
    "w2v_bert_2.0": ssl_encoder,
    "semantic_codec": semantic_codec,
    "acoustic_codec": acoustic_codec,
    "metis_se": semantic_generator,
    "s2a_1layer": acoustic_generator,
    "s2a_full": acoustic_generator,
}

"""Tables of a generator that start as the vectors its tokens stand for.

A drawn table knows nothing of which codes sound alike, and every code must be seen often to learn it: with hundreds of
hours it is.  With a few, tables and output layers start from the frozen codecs: near codes begin with near embeddings
and near logits, and the sum of a frame's acoustic embeddings is what the decoder would be given.
"""

import zlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from metis_jax.config import AcousticGeneratorConfig, SemanticGeneratorConfig

Leaves = dict[str, np.ndarray]
Codecs = Mapping[str, Mapping[str, np.ndarray]]

# Per channel, where drawn tables have 0.02: rarely seen codes take steps of Adam's size whatever their gradient.
_TABLE_SIZE = 0.3
# Length of a column of the output layer: large enough to tell near codes apart.
_LOGIT_SIZE = 3.0


def _units(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _rows_of_mean_length(x: np.ndarray, length: float) -> np.ndarray:
    return (x * (length / np.mean(np.linalg.norm(x, axis=-1)))).astype(np.float32)


def _directions(c: int, d: int, name: str) -> Float[np.ndarray, "c d"]:
    """Orthonormal rows, the same for a name in every process, and the first of them the same for every `c`."""
    if c > d:
        raise ValueError(f"code vectors of width {c} do not fit into a generator of width {d}")
    q, _ = np.linalg.qr(np.random.default_rng(zlib.crc32(name.encode())).normal(size=(c, d)).T)
    return q.T


def _table(codes: Float[np.ndarray, "v c"], d: int, rank: int) -> tuple[Float[np.ndarray, "v r"], np.ndarray]:
    """Codes as a table of the generator's width, or of a rank; and what maps its rows to that width."""
    c = codes.shape[1]
    if not rank:
        return codes @ _directions(c, d, "semantic"), np.eye(d)
    if c > rank:
        raise ValueError(f"code vectors of width {c} do not fit into tables of rank {rank}")
    return np.pad(codes, ((0, 0), (0, rank - c))), _directions(rank, d, "semantic")


def _codes(codebook: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "v c"]:
    """What a quantizer compares: unit vectors, about their mean."""
    units = _units(codebook)
    return units - units.mean(axis=0)


def _codec(codecs: Codecs, name: str) -> Mapping[str, np.ndarray]:
    if name not in codecs:
        raise ValueError(f"code vectors need {name}; give config.code_vectors.{name}")
    return codecs[name]


def semantic_generator_leaves(codecs: Codecs, config: SemanticGeneratorConfig, *, sees_latents: bool) -> Leaves:
    """Token embeddings, the layer that scores a code by its inner product with a hidden vector, and the adapter.

    The adapter, where what it is given are the latents that the codec quantizes, embeds them as their token is.
    """
    codec, d = _codec(codecs, "semantic_codec"), config.width
    codebook = codec["params/quantizer/codebook"]
    sizes = _channel_sizes(codebook)
    embeddings, scores = _units(codebook) * sizes, _codes(codebook) / sizes
    table, outward = _table(embeddings, d, config.table_rank)
    kernel, _ = _table(scores, d, config.table_rank)
    leaves = {
        "params/token_embedding/table": _rows_of_mean_length(table, _TABLE_SIZE * np.sqrt(d)),
        "params/to_logits/kernel": _rows_of_mean_length(kernel, _LOGIT_SIZE).T,
    }
    if config.table_rank:
        leaves |= {
            "params/token_embedding/projection/kernel": outward.astype(np.float32),
            "params/to_codes/kernel": outward.T.astype(np.float32),
        }
    if config.condition != "none" and sees_latents:
        leaves |= _adapter(codec, d)
        if config.condition == "gated":
            leaves["params/condition_adapter/gate"] = np.ones(1, np.float32)
        leaves |= _silent_blocks(config)
    return leaves


def _silent_blocks(config: SemanticGeneratorConfig) -> Leaves:
    """Blocks and mask that add nothing yet: what is not learned so far finds the token nearest to the condition."""
    layers, d = config.num_layers, config.width
    return {
        "params/mask_embedding": np.zeros(d, np.float32),
        "params/transformer/layers/attention/out/kernel": np.zeros((layers, d, d), np.float32),
        "params/transformer/layers/mlp/down/kernel": np.zeros((layers, config.mlp_width, d), np.float32),
    }


def _channel_sizes(codebook: Float[np.ndarray, "v c"]) -> Float[np.ndarray, " c"]:
    """Sizes at which the channels of a codebook are embedded; scores divide by them.

    The quantizer of cluster centres sees a large constant beside them (`kmeans.clusters`).  A third of it is as large
    as what centres differ by: norms take a vector's length away, and beside the constant its direction tells it still.
    """
    is_constant = np.std(codebook[:, -1]) < 0.1 * np.abs(np.mean(codebook[:, -1]))
    return np.append(np.ones(codebook.shape[1] - 1), 1 / 3 if is_constant else 1)


def _adapter(codec: Mapping[str, np.ndarray], d: int) -> Leaves:
    """Linear, SiLU, linear, as the linear map from latents to token embeddings: silu(x) - silu(-x) = x."""
    codebook = codec["params/quantizer/codebook"]
    inward = _kernels(codec, "params/quantizer/project_in")  # [features, c]
    bias = codec["params/quantizer/project_in/bias"]
    units, c = _units(codebook), codebook.shape[1]
    size = np.mean(np.linalg.norm(codebook, axis=-1))
    embed = _channel_sizes(codebook)[:, None] * _directions(c, d, "semantic")
    embed *= _TABLE_SIZE * np.sqrt(d) / np.mean(np.linalg.norm(units @ embed, axis=-1))
    hidden = 4 * d
    if 2 * c > hidden:
        raise ValueError(f"code vectors of width {c} do not fit into an adapter of {hidden} hidden channels")
    # What the pairs leave free starts without effect, and learns.
    free = np.random.default_rng(0).normal(size=(inward.shape[0], hidden - 2 * c)) / np.sqrt(inward.shape[0])
    outward = np.concatenate([embed / size, -embed / size, np.zeros((hidden - 2 * c, d))])
    leaves = {
        "in/kernel": np.concatenate([inward, -inward, free], axis=1),
        "in/bias": np.concatenate([bias, -bias, np.zeros(hidden - 2 * c)]),
        "out/kernel": outward,
        "out/bias": np.zeros(d),
    }
    return {f"params/condition_adapter/mlp/{name}": leaf.astype(np.float32) for name, leaf in leaves.items()}


def acoustic_generator_leaves(codecs: Codecs, config: AcousticGeneratorConfig) -> Leaves:
    """SSL token embeddings, the tables of all levels, and their output layers.

    A frame's embeddings sum to minus its quantized latent, so that latent plus sum is what the next level quantizes.
    """
    num_levels, d = config.num_levels, config.width
    codes = _codes(_codec(codecs, "semantic_codec")["params/quantizer/codebook"])
    acoustic_codec = _codec(codecs, "acoustic_codec")
    books = acoustic_codec["params/quantizer/levels/codebook"][:num_levels]
    inward, outward = (
        _kernels(acoustic_codec, f"params/quantizer/levels/{way}")[:num_levels] for way in ("project_in", "project_out")
    )
    vectors = books @ outward  # [q, v, latent]
    scores = np.stack([_codes(book) for book in books]) @ np.swapaxes(inward, 1, 2)
    latent = _directions(vectors.shape[2], d, "acoustic")
    # One scale for all levels: their sizes say how much each of them matters.
    tables = -vectors @ latent
    tables *= _TABLE_SIZE * np.sqrt(d) / np.mean(np.linalg.norm(tables[0], axis=-1))
    semantic, outward_semantic = _table(codes, d, config.semantic_rank)
    leaves = {
        "params/semantic_embedding/table": _rows_of_mean_length(semantic, _TABLE_SIZE * np.sqrt(d)),
        "params/token_tables": tables.astype(np.float32),
        "params/logits_kernel": np.stack([_rows_of_mean_length(x @ latent, 1.0).T for x in scores]),
    }
    if config.semantic_rank:
        leaves["params/semantic_embedding/projection/kernel"] = outward_semantic.astype(np.float32)
    return leaves


def _kernels(codec: Mapping[str, np.ndarray], projection: str) -> Float[np.ndarray, "*q i o"]:
    """Kernels of a weight-normed projection, a convolution of width 1, of every level where there are levels."""
    direction, gain = (codec[f"{projection}/{leaf}"] for leaf in ("direction", "gain"))
    kernel = direction / np.maximum(np.linalg.norm(direction, axis=-2, keepdims=True), 1e-12)
    return kernel[..., 0, :, :] * gain[..., None, :]

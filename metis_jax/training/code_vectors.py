"""Tables of a generator that start as the vectors its tokens stand for.

A drawn table knows nothing of which codes sound alike, and every code must be seen often to learn it: with hundreds of
hours it is.  With a few, tables and output layers start from the frozen codecs: near codes begin with near embeddings
and near logits, and the sum of a frame's acoustic embeddings is what the decoder would be given.
"""

import zlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

Leaves = dict[str, np.ndarray]
Codecs = Mapping[str, Mapping[str, np.ndarray]]

# Per channel, where drawn tables have 0.02: rarely seen codes take steps of Adam's size whatever their gradient.
_TABLE_SIZE = 0.3


def _units(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _rows_of_mean_length(x: np.ndarray, length: float) -> np.ndarray:
    return (x * (length / np.mean(np.linalg.norm(x, axis=-1)))).astype(np.float32)


def _directions(c: int, d: int, name: str) -> Float[np.ndarray, "c d"]:
    """Orthonormal rows, the same for a name in every process."""
    if c > d:
        raise ValueError(f"code vectors of width {c} do not fit into a generator of width {d}")
    q, _ = np.linalg.qr(np.random.default_rng(zlib.crc32(name.encode())).normal(size=(d, c)))
    return q.T


def _codes(codebook: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "v c"]:
    """What a quantizer compares: unit vectors, about their mean."""
    units = _units(codebook)
    return units - units.mean(axis=0)


def _codec(codecs: Codecs, name: str) -> Mapping[str, np.ndarray]:
    if name not in codecs:
        raise ValueError(f"code vectors need {name}; give config.code_vectors.{name}")
    return codecs[name]


def semantic_generator_leaves(codecs: Codecs, d: int) -> Leaves:
    """Token embeddings, and the layer that scores a code by its inner product with a hidden vector."""
    codes = _codes(_codec(codecs, "semantic_codec")["params/quantizer/codebook"])
    vectors = codes @ _directions(codes.shape[1], d, "semantic")
    return {
        "params/token_embedding/table": _rows_of_mean_length(vectors, _TABLE_SIZE * np.sqrt(d)),
        "params/to_logits/kernel": _rows_of_mean_length(vectors, 1.0).T,
    }


def acoustic_generator_leaves(codecs: Codecs, num_levels: int, d: int) -> Leaves:
    """SSL token embeddings, the tables of all levels, and their output layers.

    A frame's embeddings sum to minus its quantized latent, so that latent plus sum is what the next level quantizes.
    """
    codes = _codes(_codec(codecs, "semantic_codec")["params/quantizer/codebook"])
    acoustic_codec = _codec(codecs, "acoustic_codec")
    books = acoustic_codec["params/quantizer/levels/codebook"][:num_levels]
    inward, outward = (_kernels(acoustic_codec, way)[:num_levels] for way in ("project_in", "project_out"))
    vectors = books @ outward  # [q, v, latent]
    scores = np.stack([_codes(book) for book in books]) @ np.swapaxes(inward, 1, 2)
    latent = _directions(vectors.shape[2], d, "acoustic")
    # One scale for all levels: their sizes say how much each of them matters.
    tables = -vectors @ latent
    tables *= _TABLE_SIZE * np.sqrt(d) / np.mean(np.linalg.norm(tables[0], axis=-1))
    return {
        "params/semantic_embedding/table": _rows_of_mean_length(
            codes @ _directions(codes.shape[1], d, "semantic"), _TABLE_SIZE * np.sqrt(d)
        ),
        "params/token_tables": tables.astype(np.float32),
        "params/logits_kernel": np.stack([_rows_of_mean_length(x @ latent, 1.0).T for x in scores]),
    }


def _kernels(acoustic_codec: Mapping[str, np.ndarray], projection: str) -> Float[np.ndarray, "q i o"]:
    """The kernels of one weight-normed projection of all levels, which are convolutions of width 1."""
    direction, gain = (acoustic_codec[f"params/quantizer/levels/{projection}/{leaf}"] for leaf in ("direction", "gain"))
    norm = np.linalg.norm(direction, axis=2, keepdims=True)
    return (direction / np.maximum(norm, 1e-12) * gain[:, None, None, :])[:, 0]

"""A codebook of cluster centres, as the weights of a factorized quantizer (k-means units: arXiv 2106.07447, section 2).

The quantizer compares angles.  Points that share one large coordinate differ in angle as they differ in distance, so
the last of its channels is a constant: there the nearest code is the nearest centre.
"""

import numpy as np
from jaxtyping import Float
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA

# In units of the points' own size.  More is closer to distances, and costs float32 and float16 digits.
_CONSTANT = 3.0


def clusters(
    vectors: Float[np.ndarray, "n d"],
    codebook_size: int,
    code_width: int,
    *,
    seed: int,
    kernel: Float[np.ndarray, "d d"] | None = None,
    bias: Float[np.ndarray, " d"] | None = None,
) -> dict[str, np.ndarray]:
    """{path of a `FactorizedQuantizer` leaf: array} for centres in the `code_width - 1` main directions of `vectors`.

    Channels are scaled to a mean variance of one.  What the quantizer is given may be other than what it returns:
    `kernel` and `bias` say how `vectors` were made of it.

    ValueError if there are fewer vectors than codes.
    """
    if len(vectors) < codebook_size:
        raise ValueError(f"{len(vectors)} frames cannot start {codebook_size} codes; raise config.model.kmeans_frames")
    main = PCA(code_width - 1, random_state=seed).fit(vectors)
    size = np.sqrt(np.mean(main.explained_variance_))
    directions = (main.components_ / size).astype(np.float32)  # [code_width - 1, d], orthogonal
    mean = main.mean_.astype(np.float32)
    points = (vectors - mean) @ directions.T
    means = MiniBatchKMeans(codebook_size, batch_size=16384, max_iter=12, n_init=1, random_state=seed).fit(points)
    constant = np.float32(_CONSTANT * np.sqrt(code_width - 1))
    inward, shift = directions.T, -directions @ mean
    if kernel is not None and bias is not None:
        inward, shift = kernel @ inward, bias @ inward + shift
    # Weight normalisation needs some direction for the constant's channel, which its gain switches off.
    outward = np.concatenate([directions * size**2, np.zeros_like(directions[:1])])
    return {
        "codebook": np.pad(means.cluster_centers_.astype(np.float32), ((0, 0), (0, 1)), constant_values=constant),
        "project_in/direction": np.concatenate([inward, inward[:, :1]], axis=1).astype(np.float32)[None],
        "project_in/gain": np.append(np.linalg.norm(inward, axis=0), 0).astype(np.float32),
        "project_in/bias": np.append(shift, constant).astype(np.float32),
        "project_out/direction": outward[None],
        "project_out/gain": np.linalg.norm(outward, axis=0),
        "project_out/bias": mean,
    }

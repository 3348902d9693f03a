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
    features: Float[np.ndarray, "n d"], codebook_size: int, code_width: int, *, seed: int
) -> dict[str, np.ndarray]:
    """{path of a `FactorizedQuantizer` leaf: array} for centres in the `code_width - 1` main directions of `features`.

    ValueError if there are fewer frames than codes.
    """
    if len(features) < codebook_size:
        raise ValueError(f"{len(features)} frames cannot start {codebook_size} codes; raise config.model.kmeans_frames")
    main = PCA(code_width - 1, random_state=seed).fit(features)
    points = main.transform(features).astype(np.float32)
    means = MiniBatchKMeans(codebook_size, batch_size=16384, max_iter=12, n_init=1, random_state=seed).fit(points)
    constant = np.float32(_CONSTANT * np.sqrt(np.mean(np.sum(np.square(points), axis=1))))
    directions = main.components_.astype(np.float32)  # [code_width - 1, d], orthonormal
    # Weight normalisation needs some direction for the constant's channel, which its gain switches off.
    inward = np.concatenate([directions, directions[:1]]).T
    inward_gain = np.append(np.ones(code_width - 1, np.float32), np.float32(0))
    inward_bias = np.append(-directions @ main.mean_.astype(np.float32), constant)
    outward = np.concatenate([directions, np.zeros_like(directions[:1])])
    return {
        "codebook": np.pad(means.cluster_centers_.astype(np.float32), ((0, 0), (0, 1)), constant_values=constant),
        "project_in/direction": inward[None],
        "project_in/gain": inward_gain,
        "project_in/bias": inward_bias.astype(np.float32),
        "project_out/direction": outward[None],
        "project_out/gain": np.linalg.norm(outward, axis=0),
        "project_out/bias": main.mean_.astype(np.float32),
    }

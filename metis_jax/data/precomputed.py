"""Arrays that a manifest brings along: phones in the line itself, lip features in a `.npy` file named by it."""

import numpy as np

from metis_jax.data.corpora import Item
from metis_jax.data.records import RecordError
from metis_jax.inputs import InputError, finite_floats, read_array

PHONES = 1024  # entries of the phone embedding
FEATURE_RATE = 25  # video frames a second


def _phones(item: Item) -> np.ndarray:
    bad = [value for value in item.phones if type(value) is not int or not 0 <= value < PHONES]
    if bad:
        raise RecordError(f"phones hold {bad[0]!r}; expected a list of integers from 0 to {PHONES - 1}")
    return np.asarray(item.phones, np.int32)


def _visual_features(path: str, seconds: float) -> np.ndarray:
    try:
        features = finite_floats(read_array(path), path)
    except InputError as error:
        raise RecordError(f"visual_features: {error}") from None
    if features.ndim != 2 or not features.size:
        raise RecordError(f"visual_features: {path}: {features.dtype}{list(features.shape)}; expected floats [t, d]")
    if abs(len(features) / FEATURE_RATE - seconds) > 0.2 + 0.05 * seconds:
        raise RecordError(
            f"visual_features: {path}: {len(features)} frames at {FEATURE_RATE} a second for {seconds:.2f} s of sound"
        )
    return features


def given_arrays(item: Item, seconds: float) -> dict[str, np.ndarray]:
    """The record arrays of an item whose recording lasts `seconds`; `RecordError` says what is wrong with one."""
    arrays = {}
    if item.phones:
        arrays["phones"] = _phones(item)
    if item.features_path:
        arrays["visual_features"] = _visual_features(item.features_path, seconds)
    return arrays

"""Arrays that a manifest brings along: phones in the line itself, lip features in a `.npy` file named by it."""

import numpy as np

from metis_jax.data.corpora import Item
from metis_jax.data.records import RecordError

PHONES = 1024  # entries of the phone embedding
FEATURE_RATE = 25  # video frames a second


def _phones(item: Item) -> np.ndarray:
    bad = [value for value in item.phones if type(value) is not int or not 0 <= value < PHONES]
    if bad:
        raise RecordError(f"phones hold {bad[0]!r}; expected a list of integers from 0 to {PHONES - 1}")
    return np.asarray(item.phones, np.int32)


def _visual_features(path: str, seconds: float) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            features = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise RecordError(f"visual_features: {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise RecordError(f"visual_features: {path}: not a .npy array: {error}") from error
    if features.dtype.kind != "f" or features.ndim != 2 or not features.size:
        raise RecordError(f"visual_features: {path}: {features.dtype}{list(features.shape)}; expected floats [t, d]")
    if not np.isfinite(features).all():
        raise RecordError(f"visual_features: {path}: values that are not finite")
    if abs(len(features) / FEATURE_RATE - seconds) > 0.2 + 0.05 * seconds:
        raise RecordError(
            f"visual_features: {path}: {len(features)} frames at {FEATURE_RATE} a second for {seconds:.2f} s of sound"
        )
    return features if features.dtype == np.float16 else features.astype(np.float32)


def given_arrays(item: Item, seconds: float) -> dict[str, np.ndarray]:
    """The record arrays of an item whose recording lasts `seconds`; `RecordError` says what is wrong with one."""
    arrays = {}
    if item.phones:
        arrays["phones"] = _phones(item)
    if item.features_path:
        arrays["visual_features"] = _visual_features(item.features_path, seconds)
    return arrays

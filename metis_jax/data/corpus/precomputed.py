"""Arrays that a manifest brings along: phones and how long they last in the line itself, lip features in a file.

That is a `.npy` file which the line names.
"""

import numpy as np

from metis_jax.data.corpus.items import Item
from metis_jax.data.corpus.records import RecordError
from metis_jax.files.inputs import InputError, finite_floats, read_array

PHONES = 1024  # entries of the phone embedding
FEATURE_RATE = 25  # video frames a second


def _phones(item: Item) -> np.ndarray:
    bad = [value for value in item.phones if type(value) is not int or not 0 <= value < PHONES]
    if bad:
        raise RecordError(f"phones hold {bad[0]!r}; expected a list of integers from 0 to {PHONES - 1}")
    return np.asarray(item.phones, np.int32)


def _phone_bounds(item: Item, seconds: float) -> np.ndarray:
    """Seconds at which phones begin, and at which the last one ends, from `silence` in front and `durations`."""
    if len(item.durations) != len(item.phones):
        raise RecordError(f"durations holds {len(item.durations)} values for {len(item.phones)} phones; give one each")
    if not all(type(value) in (int, float) and value > 0 for value in item.durations) or not item.silence >= 0:
        raise RecordError(f"durations and silence {item.silence!r} are seconds; durations are positive numbers")
    bounds = np.cumsum([item.silence, *item.durations])
    if not bounds[-1] <= seconds + 0.1:
        raise RecordError(f"durations and silence add up to {bounds[-1]:.2f} s in {seconds:.2f} s of sound")
    return bounds.astype(np.float32)


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
    if item.durations:
        arrays["phone_bounds"] = _phone_bounds(item, seconds)
    if item.features_path:
        arrays["visual_features"] = _visual_features(item.features_path, seconds)
    return arrays

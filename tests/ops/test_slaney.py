"""Slaney's scale and filters beside librosa's."""

import warnings

import librosa
import numpy as np
import pytest

from metis_jax.ops.slaney import hertz_to_mel, mel_to_hertz, triangles


@pytest.mark.parametrize("shape", [(16000, 400, 80), (24000, 2048, 320), (24000, 32, 5), (24000, 256, 160)])
def test_filters_are_those_of_librosa_to_the_bit(shape):
    rate, n_fft, bins = shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty filters
        due = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bins)
    found = triangles(*shape)
    assert found.dtype == due.dtype and np.array_equal(found, due)


def test_the_scale_is_that_of_librosa_and_back():
    hertz = np.linspace(0, 12000, 999)
    assert np.array_equal(hertz_to_mel(hertz), librosa.hz_to_mel(hertz))
    np.testing.assert_allclose(mel_to_hertz(hertz_to_mel(hertz)), hertz, atol=1e-9)

import io

import numpy as np
import pytest
import soundfile
from synthetic_voice import voice

from metis_jax.audio import waves
from metis_jax.audio.waves import AudioError
from metis_jax.clock import CODEC_RATE, SSL_RATE


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100])
@pytest.mark.parametrize("start", [0.1, 3.3, 5.9])
def test_an_excerpt_is_the_same_place_of_the_whole(rate, start):
    wave = voice(3, 6.0, rate)
    part, found, first = waves.read_excerpt(waves.write_flac(wave, rate), start, 0.5)
    assert found == rate
    for target in (SSL_RATE, CODEC_RATE):
        assert first * target % rate == 0, "resampled excerpts must start on a sample"
    assert first <= max(0.0, start - 0.25) * rate and first + len(part) >= min(6.0, start + 0.7) * rate
    assert len(part) <= 1.05 * rate
    np.testing.assert_allclose(part, wave[first : first + len(part)], atol=1e-4)


def test_an_excerpt_of_a_lossy_file_is_what_the_whole_holds():
    buffer = io.BytesIO()
    soundfile.write(buffer, voice(3, 6.0), 16_000, format="OGG", subtype="OPUS")
    whole, rate = waves.read_wave(buffer.getvalue())
    part, _, first = waves.read_excerpt(buffer.getvalue(), 3.3, 0.5)
    settled = slice(rate // 4, None)
    error = waves.rms(part[settled] - whole[first : first + len(part)][settled])
    assert first > 3.0 * rate and error < 0.01 * waves.rms(part)


def test_channels_are_averaged_and_rates_converted():
    buffer = io.BytesIO()
    left, right = voice(1, 1.0, 48_000), voice(2, 1.0, 48_000)
    soundfile.write(buffer, np.stack([left, right], axis=1), 48_000, format="FLAC")
    wave, rate = waves.read_wave(buffer.getvalue())
    np.testing.assert_allclose(wave, (left + right) / 2, atol=1e-4)
    planned = waves.resampled_length(np.asarray([48_000]), np.asarray([48_000]), 16_000)
    assert len(waves.resample(wave, rate, 16_000)) == planned[0] == 16_000


def test_channels_that_cancel_are_not_called_silence():
    buffer = io.BytesIO()
    wave = voice(1, 1.0)
    soundfile.write(buffer, np.stack([wave, -wave], axis=1), 16_000, format="FLAC")
    with pytest.raises(AudioError, match="clip 7: its channels cancel"):
        waves.read_wave(buffer.getvalue(), "clip 7")


@pytest.mark.parametrize("data", [b"", b"RIFFxxxx", b"OggS" + bytes(100), waves.write_flac(voice(0, 1.0), 16_000)[:40]])
def test_what_is_not_audio_is_named(data):
    with pytest.raises(AudioError, match="clip 7"):
        waves.read_wave(data, "clip 7")


def test_a_shifted_phase_keeps_length_level_and_spectrum():
    wave = voice(4, 1.0, 24_000)[:-1]
    shifted = waves.shift_phase(wave, 1.0)
    assert shifted.dtype == np.float32 and shifted.shape == wave.shape
    assert waves.rms(shifted) == pytest.approx(waves.rms(wave), rel=1e-3)
    np.testing.assert_allclose(np.abs(np.fft.rfft(shifted))[1:], np.abs(np.fft.rfft(wave))[1:], rtol=1e-3, atol=1e-3)
    assert np.abs(shifted - wave).max() > 0.1 * np.abs(wave).max()
    np.testing.assert_allclose(waves.shift_phase(wave, np.pi), -wave, atol=1e-5)

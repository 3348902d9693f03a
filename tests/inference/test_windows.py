import numpy as np
import pytest

from metis_jax.inference.windows import Continuation, WindowPlan, faded

PLAN = WindowPlan(frames=30, overlap=8)
HOP = 10


def source(n):
    return np.arange(n, dtype=np.float32)


@pytest.mark.parametrize("total", [5, 300, 301, 999, 1000, 4321])
@pytest.mark.parametrize("chunk", [17, 300, 10**6])
def test_windows_cover_the_source_with_the_overlap(total, chunk):
    chunks = np.split(source(total), range(chunk, total, chunk))
    windows = list(PLAN.cut(chunks, samples=304, hop=HOP))
    assert len(windows) == PLAN.count(total, samples=304, hop=HOP)
    assert [window.is_last for window in windows] == [False] * (len(windows) - 1) + [True]
    for window in windows:
        np.testing.assert_array_equal(window.samples, source(total)[window.start * HOP :][: len(window.samples)])
    for before, after in zip(windows, windows[1:], strict=False):
        assert len(before.samples) == 304
        assert after.start - before.start == 30 - 8
    last = windows[-1]
    assert last.start * HOP + len(last.samples) == total


def test_a_stream_is_not_read_ahead():
    taken = []

    def chunks():
        for i in range(100):
            taken.append(i)
            yield source(100)

    next(iter(PLAN.cut(chunks(), samples=300, hop=HOP)))
    assert len(taken) == 4


def test_prompts_that_fill_the_window_are_named():
    with pytest.raises(ValueError, match="windows of 8 frames leave no room for 8 frames of overlap"):
        list(PLAN.cut([source(100)], samples=80, hop=HOP))


def test_a_bundle_says_how_long_windows_are():
    assert WindowPlan.of({}) == WindowPlan()
    plan = WindowPlan.of({"own_voice": True, "window": {"frames": 384, "overlap": 64, "least": 224}})
    assert plan == WindowPlan(384, 64, 224)
    assert [plan.room(ahead) for ahead in (0, 100, 160, 1500)] == [384, 284, 224, 224]


def test_generators_that_saw_less_are_given_less():
    assert WindowPlan.within(1500) == WindowPlan.within(9000) == WindowPlan()
    short = WindowPlan.within(400)
    assert short.frames == 400 and short.overlap < short.least == short.room(399) < short.room(100) == 300


@pytest.mark.parametrize(
    "wanted, message",
    [
        (384, "decoding.window is 384; expected its settings by name"),
        ({"frame": 384}, "decoding.window"),
        ({"frames": 9999}, "frames is 9999; use 0 to 1536"),
        ({"frames": 100}, "windows of 100 frames, at least 0 of them new, share 200"),
        ({"least": 200}, "windows of 1500 frames, at least 200 of them new, share 200"),
    ],
)
def test_windows_that_can_not_be_are_named(wanted, message):
    with pytest.raises(ValueError, match=message):
        WindowPlan.of({"window": wanted})


def test_a_continuation_emits_every_frame_once():
    windows = list(PLAN.cut([source(1000)], samples=300, hop=HOP))
    done = Continuation(num_levels=2, overlap=8)
    emitted = []
    for window in windows:
        done.enter(window)
        frames = len(window.samples) // HOP
        new = np.arange(window.start + len(done.semantic), window.start + frames, dtype=np.int32)
        begin, end = done.extend(new, np.stack([new, new], axis=1), is_last=window.is_last)
        assert len(done.semantic) == frames <= PLAN.frames
        if not window.is_last:
            assert frames - end == 4
        emitted.extend(done.acoustic[begin:end, 0])
    np.testing.assert_array_equal(emitted, np.arange(100))


@pytest.mark.parametrize("total", [1, 8, 29, 30, 31, 52, 53, 200])
def test_tokens_of_any_length_become_one_wave(total):
    tokens = np.arange(total, dtype=np.int32)[:, None]
    windows = PLAN.cut_tokens(tokens)
    assert max(map(len, windows)) <= 30 and len(windows) == max(1, -(-(total - 8) // 22))
    waves = [np.repeat(window[:, 0], HOP).astype(np.float32) for window in windows]
    np.testing.assert_array_equal(PLAN.join_waves(waves, hop=HOP), np.repeat(tokens[:, 0], HOP))
    # Only the ends of the whole may show what a window lacks at its own.
    for window, wave in zip(windows, waves, strict=True):
        wave[[0, -1]] = -1 - window[[0, -1], 0]
    spoilt = PLAN.join_waves(waves, hop=HOP)
    assert (spoilt[1:-1] >= 0).all() and spoilt[0] < 0 and spoilt[-1] < 0


def test_a_fade_changes_nothing_where_windows_agree_and_has_no_step_where_they_do_not():
    wave = np.random.default_rng(0).normal(size=50).astype(np.float32)
    np.testing.assert_array_equal(faded(wave[:10], wave), wave)
    np.testing.assert_array_equal(faded(wave[:0], wave), wave)
    joined = np.concatenate([np.ones(20), faded(np.ones(10), -np.ones(50))])
    assert np.max(np.abs(np.diff(joined))) < 0.25
    assert joined[-40:].tolist() == [-1.0] * 40
    assert len(faded(np.ones(10), -np.ones(4))) == 4


def test_windows_of_another_phase_are_joined_without_a_step():
    hop, at = 480, np.arange(30 * 480)
    tokens = np.zeros((52, 1), np.int32)
    waves = [np.sin(at / 40 + phase).astype(np.float32) for phase in (0, 2)]
    assert len(PLAN.cut_tokens(tokens)) == 2
    assert np.max(np.abs(np.diff(PLAN.join_waves(waves, hop=hop)))) < 0.05

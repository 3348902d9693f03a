"""Which phones were said: labels of frames from bounds, sounds in their order, and CTC against a restatement."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.objectives.phones import SILENCE, UNHEARD, ctc_loss, frame_labels, frame_loss, sounds

PHONES = jnp.array([[9, 4, 7, 1, 0], [9, 8, 0, 0, 0]], jnp.int32)  # a boundary (4) and a full stop (1) in the first
LENGTHS = jnp.array([4, 2], jnp.int32)
LABELS = jnp.array([SILENCE, SILENCE, SILENCE, SILENCE, UNHEARD, 5, 6, 7, 8, 9], jnp.int32)


def test_frames_have_the_label_at_their_middle():
    bounds = jnp.array([[1.0, 3.0, 4.0, 5.6, 7.0, 0.0], [0.0] * 6])
    found, is_known = frame_labels(PHONES, bounds, LENGTHS, LABELS, 8)
    np.testing.assert_array_equal(found[0], [SILENCE, 9, 9, SILENCE, 7, 7, SILENCE, SILENCE])
    # Between two words lies no sound of its own; a row without bounds knows nothing.
    np.testing.assert_array_equal(is_known[0], [True, True, True, False, True, True, True, True])
    assert not np.any(is_known[1])


def test_sounds_keep_their_order():
    found, counts = sounds(PHONES, LENGTHS, LABELS)
    assert found[0, :2].tolist() == [9, 7] and found[1, :2].tolist() == [9, 8] and counts.tolist() == [2, 2]


def test_frames_that_are_not_known_do_not_count():
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]]))
    labels, is_known = jnp.array([[1, 1, 1]]), jnp.array([[True, True, False]])
    total, accuracy = frame_loss(logits, labels, is_known)
    assert total == pytest.approx(-(np.log(0.25) + np.log(0.8))) and accuracy == 0.5


def test_ctc_sums_over_all_alignments():
    """Against the sum over all paths of three frames that spell two phones."""
    logits = jax.random.normal(jax.random.key(0), (1, 4, 3))
    p = np.asarray(jax.nn.softmax(logits))[0, :3]

    def spelt(path):
        merged = [symbol for symbol, _ in itertools.groupby(path)]
        return [symbol for symbol in merged if symbol != SILENCE]

    total = sum(
        np.prod([p[t, symbol] for t, symbol in enumerate(path)])
        for path in itertools.product(range(3), repeat=3)
        if spelt(path) == [2, 1]
    )
    loss = ctc_loss(logits, jnp.array([3]), jnp.array([[2, 1, 0]]), jnp.array([2]))
    assert loss == pytest.approx(-np.log(total), rel=1e-4)


@pytest.mark.parametrize("phones, frames, counts", [([2, 1], 2, True), ([2, 1], 1, False), ([2, 2], 2, False)])
def test_what_can_not_be_spelt_in_so_many_frames_has_no_loss(phones, frames, counts):
    logits = jax.random.normal(jax.random.key(0), (1, 4, 3))
    loss = ctc_loss(logits, jnp.array([frames]), jnp.array([[*phones, 0]]), jnp.array([2]))
    assert (0 < loss < 100) if counts else loss == 0

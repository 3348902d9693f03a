"""The order of a run, without any audio."""

import numpy as np
import pytest

from metis_jax.data.batching import Batches, Share, mixed_order
from metis_jax.data.recipes import Piece, Recipe


def draw(part, item, rng, limit):
    return Recipe("", Piece(item, 0, int(rng.integers(1, limit + 1))))


def batches(seed=0, batch_size=4, sizes=(37,), weights=(1.0,), **options):
    options = {"buckets": (10, 20, 40), "block_batches": 8} | options
    return Batches(mixed_order(sizes, weights, seed), draw, batch_size=batch_size, seed=seed, **options)


def test_every_item_once_per_epoch_in_a_new_order():
    order = mixed_order([37], [1.0], seed=3)
    epochs = [[order[37 * epoch + position][1] for position in range(37)] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(37))
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] == [mixed_order([37], [1.0], seed=3)[position][1] for position in range(37)]
    assert epochs[0] != [mixed_order([37], [1.0], seed=4)[position][1] for position in range(37)]


@pytest.mark.parametrize("weights", [(0.7, 0.3), (1.0, 1.0, 1.0), (5.0, 3.0, 1.0, 0.1)])
def test_mixture_weights_are_met(weights):
    sizes = tuple(range(11, 11 + len(weights)))
    order = mixed_order(sizes, weights, seed=0)
    draws = [order[position] for position in range(400)]
    parts = np.asarray([part for part, _ in draws])
    exact = np.asarray(weights) / np.sum(weights)
    # Close to the weights over short stretches too.
    for stretch, tolerance in ((400, 0.006), (100, 0.03)):
        shares = np.bincount(parts[:stretch], minlength=len(weights)) / stretch
        np.testing.assert_allclose(shares, exact, atol=tolerance)
    for part, size in enumerate(sizes):
        items = [item for which, item in draws if which == part]
        for epoch in range(len(items) // size):
            assert sorted(items[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_weights_and_sizes_are_checked():
    for weights in ((1.0,), (1.0, 0.0), (1.0, float("nan"))):
        with pytest.raises(ValueError, match="weights"):
            mixed_order([3, 3], weights, 0)
    with pytest.raises(ValueError, match="no part may be empty"):
        mixed_order([3, 0], [1.0, 1.0], 0)


def test_blocks_hold_every_row_once_in_the_smallest_bucket_that_fits():
    plans = batches()
    for block in range(3):
        rows = [row for step in range(8) for row in plans[8 * block + step].rows]
        assert sorted(row.position for row in rows) == list(range(32 * block, 32 * block + 32))
    for step in range(24):
        plan = plans[step]
        assert len(plan.rows) == 4
        longest = max(row.recipe.frames for row in plan.rows)
        assert plan.frames == min(bucket for bucket in (10, 20, 40) if bucket >= longest)
    # Not sorted by length over time.
    assert len({tuple(plans[8 * block + step].frames for step in range(8)) for block in range(4)}) > 1


def test_bucketing_saves_padding():
    def fill(block_batches):
        plans = batches(block_batches=block_batches, buckets=(10, 20, 30, 40))
        used = sum(row.recipe.frames for step in range(64) for row in plans[step].rows)
        return used / sum(4 * plans[step].frames for step in range(64))

    assert fill(32) > fill(1) + 0.1


def test_random_access_equals_going_through():
    forward = batches()
    steps = [forward[step] for step in range(40)]
    jumping = batches()
    for step in (39, 3, 17, 0, 25):
        assert jumping[step] == steps[step]


def test_shares_are_blocks_of_rows_wherever_they_lie():
    assert Share().rows(3).tolist() == [0, 1, 2] and Share().fraction == 1
    share = Share((0, 2), 4)
    assert share.rows(8).tolist() == [0, 1, 4, 5] and share.rows(4).tolist() == [0, 2]
    assert share.fraction == 0.5


def test_shares_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match="a batch of 4 rows does not split into 3 equal blocks"):
        Share((0,), 3).rows(4)
    for blocks in ((), (2,), (1, 0), (0, 0), (-1,)):
        with pytest.raises(ValueError, match="expected growing numbers below 2"):
            Share(blocks, 2)


def test_a_stand_in_fits_differs_and_is_reproducible():
    plans = batches()
    row = plans[2].rows[1]
    first, again = (plans.replace(2, row, plans[2].frames) for _ in range(2))
    assert first == again and first.attempt == 1 and first.position == row.position
    assert first.recipe.frames <= plans[2].frames and first.recipe.target.record != row.recipe.target.record
    second = plans.replace(2, first, plans[2].frames)
    assert second.attempt == 2
    lonely = batches(sizes=(1,))
    assert lonely.replace(0, lonely[0].rows[0], 40) is None


@pytest.mark.parametrize("buckets", [(), (20, 10), (10, 10), (0, 10)])
def test_bad_buckets_are_named(buckets):
    with pytest.raises(ValueError, match="buckets are"):
        batches(buckets=buckets)

"""The order of a run, without any audio."""

import numpy as np
import pytest

from metis_jax.data.batches.plans import FILLING, Batches, Places, Share, mixed_order, rows_of_buckets
from metis_jax.data.batches.recipes import Piece, Recipe


def draw(part, item, rng, limit):
    return Recipe("", Piece(item, 0, int(rng.integers(1, limit + 1))))


def batches(seed=0, rows=(16, 8, 4), sizes=(37,), weights=(1.0,), **options):
    options = {"buckets": (10, 20, 40), "block_batches": 8} | options
    return Batches(mixed_order(sizes, weights, seed), draw, rows=rows, seed=seed, **options)


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


def test_rows_follow_from_the_bucket():
    # Pre-training: 10,000 tokens on each of 8 devices.
    assert rows_of_buckets(80_000, (250, 500, 1000, 1500), 8) == (320, 160, 80, 48)
    assert rows_of_buckets(80_000, (250, 500, 1000, 1500), 24) == (312, 144, 72, 48)
    assert rows_of_buckets(100, (250, 500), 8) == (8, 8)


def test_blocks_hold_every_row_once_in_a_bucket_that_fits():
    plans = batches()
    seen: set[int] = set()
    for block in range(6):
        held = plans.block(block)
        for plan in held:
            assert len(plan.rows) == dict(zip(plans.buckets, plans.rows, strict=True))[plan.frames]
            assert max(row.recipe.frames for row in plan.rows) <= plan.frames
        positions = [row.position for plan in held for row in plan.rows]
        own = [position for position in positions if position < FILLING]
        # 8 batches of the 16 rows of the shortest bucket; others fill the last batch of the longest one.
        assert sorted(own) == list(range(128 * block, 128 * block + 128))
        assert len(positions) - len(own) < 4
        assert len(set(positions)) == len(positions) and not seen & set(positions)
        seen |= set(positions)
        too_long = [plan for plan in held if max(row.recipe.frames for row in plan.rows) <= plan.frames / 2]
        assert len(too_long) <= 2  # of leftovers of shorter buckets alone
    # Not sorted by length over time.
    assert len({tuple(plan.frames for plan in plans.block(block)) for block in range(4)}) > 1


def test_batches_have_about_as_many_tokens():
    plans = batches(rows=(24, 12, 8, 6), buckets=(10, 20, 30, 40), block_batches=32)
    padded = [plan.frames * len(plan.rows) for plan in plans.block(0)]
    assert set(padded) == {240}
    used = sum(row.recipe.frames for plan in plans.block(0) for row in plan.rows) / sum(padded)
    assert used > 0.8  # of lengths from 1 to 40, half of the frames of 40 are used

    one_bucket = batches(rows=(4,), buckets=(40,))
    assert [len(one_bucket.block(block)) for block in range(3)] == [8] * 3
    assert all(row.position < FILLING for plan in one_bucket.block(0) for row in plan.rows)


def test_random_access_equals_going_through():
    plans = batches()
    forward = [plan for block in range(3) for plan in plans.block(block)]
    jumping = batches()
    for step in (29, 3, 17, 0, 25):
        assert jumping[step] == forward[step]
    places = Places(plans, 1, 2)
    start = len(plans.block(0)) + 2
    for number in (11, 0, 20, 5):
        block, place = places[number]
        assert plans.block(block)[place] == forward[start + number]
    # Behind the last batch of a block lies the first of the next.
    assert Places(plans, 0, len(plans.block(0)))[0] == (1, 0)


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
    first, again = (plans.replace(plans[2], row) for _ in range(2))
    assert first == again and first.attempt == 1 and first.position == row.position
    assert first.recipe.frames <= plans[2].frames and first.recipe.target.record != row.recipe.target.record
    second = plans.replace(plans[2], first)
    assert second.attempt == 2
    lonely = batches(sizes=(1,))
    assert lonely.replace(lonely[0], lonely[0].rows[0]) is None


@pytest.mark.parametrize("buckets", [(), (20, 10), (10, 10), (0, 10)])
def test_bad_buckets_are_named(buckets):
    with pytest.raises(ValueError, match="buckets are"):
        batches(buckets=buckets)


@pytest.mark.parametrize("rows", [(4, 4), (4, 4, 0)])
def test_bad_rows_are_named(rows):
    with pytest.raises(ValueError, match=r"batches of \(4, 4.* rows in buckets \(10, 20, 40\)"):
        batches(rows=rows)

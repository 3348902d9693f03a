import pytest

from metis_jax.inference.buckets import BATCH_SIZES, FRAME_BUCKETS, bucket, plan_batches


@pytest.mark.parametrize("length, expected", [(1, 256), (256, 256), (257, 384), (1500, 1536)])
def test_smallest_bucket_that_holds(length, expected):
    assert bucket(length) == expected


def test_too_long_is_named():
    with pytest.raises(ValueError, match="length is 1537; at most 1536"):
        bucket(1537)


@pytest.mark.parametrize("largest", [1, 4, 8])
def test_every_example_is_in_one_batch_of_its_bucket(largest):
    lengths = [10, 900, 120, 300, 1500, 64, 500, 7, 8, 9, 11]
    plan = plan_batches(lengths, largest)
    assert sorted(i for _, members in plan for i in members) == list(range(len(lengths)))
    for rows, members in plan:
        assert len(members) <= rows <= largest and rows in BATCH_SIZES
        assert len({bucket(lengths[i]) for i in members}) == 1


def test_shapes_are_few():
    plan = plan_batches([length for length in range(1, 1500, 7)], 8)
    assert len({(rows, bucket(members[0] + 1)) for rows, members in plan}) <= 2 * len(FRAME_BUCKETS)

"""The few shapes that are compiled: lengths padded to a bucket, examples grouped into batches of a few sizes."""

import bisect
from collections import defaultdict
from collections.abc import Sequence

# A shorter one would save some computing, and cost seconds of compiling for a file of 2 s after one of 4 s.
FRAME_BUCKETS = (256, 384, 512, 768, 1024, 1280, 1536)
PHONE_BUCKETS = (64, 128, 256, 512, 1024)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


def bucket(length: int, buckets: Sequence[int] = FRAME_BUCKETS) -> int:
    """The smallest bucket that holds `length`."""
    index = bisect.bisect_left(buckets, length)
    if index == len(buckets):
        raise ValueError(f"length is {length}; at most {buckets[-1]} fit in one pass")
    return buckets[index]


def plan_batches(lengths: Sequence[int], largest: int) -> list[tuple[int, list[int]]]:
    """Groups examples of one bucket: (rows, indices of the examples), with up to `largest` rows each.

    A batch has as many rows as the next of `BATCH_SIZES`; the caller fills rows that no example takes.
    """
    groups = defaultdict(list)
    for index, length in enumerate(lengths):
        groups[bucket(length)].append(index)
    plan = []
    for _, members in sorted(groups.items(), reverse=True):
        for start in range(0, len(members), largest):
            part = members[start : start + largest]
            plan.append((min(bucket(len(part), BATCH_SIZES), largest), part))
    return plan

"""Who is done with whom, by a worker that waits until it is let."""

import threading
from concurrent.futures import CancelledError

import pytest

from metis_jax.serving.batches import Batcher, Closed, Full


class _Worker:
    """Doubles numbers; -1 is a fault."""

    def __init__(self):
        self.let, self.began, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, group, items):
        self.began.set()
        assert self.let.wait(30)
        self.batches.append((group, list(items)))
        if -1 in items:
            raise ValueError("-1")
        return [2 * item for item in items]


@pytest.fixture
def worker():
    return _Worker()


@pytest.fixture
def batcher(worker):
    """At work on one item, so that the next ones gather."""
    batcher = Batcher(worker, largest=3, most_waiting=6)
    assert not batcher.submit("first", 0).done() and worker.began.wait(30)
    yield batcher
    worker.let.set()
    batcher.close()


def test_what_gathers_is_done_together_by_groups_in_order(batcher, worker):
    futures = [batcher.submit(group, item) for item, group in enumerate("abaaba", start=1)]
    worker.let.set()
    assert [future.result(30) for future in futures] == [2, 4, 6, 8, 10, 12]
    assert worker.batches == [("first", [0]), ("a", [1, 3, 4]), ("b", [2, 5]), ("a", [6])]


def test_one_that_fails_fails_alone(batcher, worker):
    futures = [batcher.submit("a", item) for item in (1, -1, 3)]
    worker.let.set()
    assert (futures[0].result(30), futures[2].result(30)) == (2, 6)
    with pytest.raises(ValueError, match="-1"):
        futures[1].result(30)


def test_one_that_is_taken_back_is_not_done(batcher, worker):
    futures = [batcher.submit("a", item) for item in (1, 2)]
    assert futures[0].cancel()
    worker.let.set()
    assert futures[1].result(30) == 4 and worker.batches[1:] == [("a", [2])]
    with pytest.raises(CancelledError):
        futures[0].result()


def test_more_than_may_wait_are_refused_and_what_was_taken_is_done_at_the_end(batcher, worker):
    futures = [batcher.submit("a", item) for item in range(6)]
    with pytest.raises(Full):
        batcher.submit("a", 7)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    worker.let.set()
    closing.join(30)
    assert [future.result(0) for future in futures] == [0, 2, 4, 6, 8, 10]
    with pytest.raises(Closed):
        batcher.submit("a", 7)

"""Requests that arrive together are decoded together: one thread has the models, and takes what waits in groups.

While one group is decoded the next ones gather; nobody waits for a group to fill.
"""

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

_Item = TypeVar("_Item")


class Full(Exception):
    """So many are waiting that one more would wait too long."""


class Closed(Exception):
    """Nothing new is taken: the server is ending."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Waiting(Generic[_Item]):
    group: Hashable
    item: _Item
    future: Future


class Batcher(Generic[_Item]):
    """Gives items of the same group to `work`, several at once, in the order in which they came.

    Args:
      work: items of one group to their results, in a thread of its own.
      largest: items at once.
      most_waiting: items that wait; beyond, `submit` refuses.
      heard: is told the size of every batch.
    """

    def __init__(
        self,
        work: Callable[[Hashable, Sequence[_Item]], Sequence[Any]],
        *,
        largest: int,
        most_waiting: int,
        heard: Callable[[int], None] = lambda size: None,
    ):
        self._work, self._largest, self._most, self._heard = work, largest, most_waiting, heard
        self._waiting: deque[_Waiting[_Item]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, group: Hashable, item: _Item) -> Future:
        """The result to come; `cancel` takes back what has not begun.  Raises Full or Closed."""
        with self._changed:
            if self._is_closed:
                raise Closed
            if len(self._waiting) >= self._most:
                raise Full
            waiting = _Waiting(group, item, Future())
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.future

    def close(self) -> None:
        """Takes nothing more, does all that was taken, and ends."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            batch = [one for one in batch if one.future.set_running_or_notify_cancel()]
            if batch:
                self._heard(len(batch))
                self._do(batch)

    def _next(self) -> list[_Waiting[_Item]]:
        """All that waits with the first one, as many as are done at once; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            batch = [one for one in self._waiting if one.group == self._waiting[0].group][: self._largest]
            for one in batch:
                self._waiting.remove(one)
            return batch

    def _do(self, batch: Sequence[_Waiting[_Item]]) -> None:
        try:
            results = self._work(batch[0].group, [one.item for one in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for one in batch:  # the one that is to blame shows when each is done alone
                self._do([one])
            return
        for one, result in zip(batch, results, strict=True):
            one.future.set_result(result)

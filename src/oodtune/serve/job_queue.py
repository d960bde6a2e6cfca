"""The queue between the event loop and its workers: an item goes to one idle worker, the one that has idled least."""

import math
import queue
import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class JobQueue(Generic[T]):
    """First in, first out. `queue.SimpleQueue` wakes all idle workers for an item, and all but one find it gone."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._idle: list[_Idle[T]] = []
        """The last one's caches are the warmest."""
        self._guard = threading.Lock()

    def __len__(self) -> int:
        """How many items wait: what an idle worker has been handed is that worker's, even before it has woken."""
        return len(self._items)

    @property
    def num_idle(self) -> int:
        """Workers that wait in `get`."""
        return len(self._idle)

    def put(self, item: T) -> None:
        with self._guard:
            if not self._idle:
                self._items.append(item)
                return
            idle = self._idle.pop()
        idle.hand(item)

    def get(self, until_s: float = math.inf) -> T:
        """Return the next item. Raises queue.Empty if none comes by `until_s`, on the clock of time.perf_counter."""
        with self._guard:
            if self._items:
                return self._items.popleft()
            wait_s = until_s - time.perf_counter()
            if wait_s <= 0:
                raise queue.Empty
            idle = _Idle[T]()
            self._idle.append(idle)
        if not idle.wait(wait_s):
            with self._guard:
                if idle in self._idle:  # else `put` is just handing it an item
                    self._idle.remove(idle)
                    raise queue.Empty
            idle.wait(math.inf)
        return idle.item


class _Idle(Generic[T]):
    """A worker that waits for an item of its own."""

    item: T

    def __init__(self) -> None:
        self._wake = threading.Lock()
        self._wake.acquire()

    def hand(self, item: T) -> None:
        self.item = item
        self._wake.release()

    def wait(self, seconds: float) -> bool:
        """Return whether it has been handed one."""
        return self._wake.acquire(timeout=-1 if seconds == math.inf else seconds)

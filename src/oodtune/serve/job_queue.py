"""The queue between the event loop and its workers: an item wakes one worker, the one that has idled least."""

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
        self._idle: list[threading.Lock] = []
        """One of each idle worker, held; its release wakes that worker. The last one's caches are the warmest."""
        self._guard = threading.Lock()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        with self._guard:
            self._items.append(item)
            wake = self._idle.pop() if self._idle else None
        if wake is not None:
            wake.release()

    def get(self, until_s: float = math.inf) -> T:
        """Return the next item. Raises queue.Empty if none comes by `until_s`, on the clock of time.perf_counter."""
        while True:
            with self._guard:
                if self._items:
                    return self._items.popleft()
                wait_s = until_s - time.perf_counter()
                if wait_s <= 0:
                    raise queue.Empty
                wake = threading.Lock()
                wake.acquire()
                self._idle.append(wake)
            if not wake.acquire(timeout=-1 if wait_s == math.inf else wait_s):
                self._stay_awake(wake)

    def _stay_awake(self, wake: threading.Lock) -> None:
        with self._guard:
            if wake in self._idle:  # else `put` has just woken it: there is an item, or another worker has it
                self._idle.remove(wake)

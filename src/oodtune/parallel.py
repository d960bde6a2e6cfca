"""Many items at once, or the next ones ahead: threads for work that frees the GIL, processes for other work."""

import math
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import TracebackType
from typing import Generic, Self, TypeVar

from oodtune.cpus import count_cpus
from oodtune.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_PER_WORKER = 256
"""A new process costs about as much time as this many items: fewer items are worked on here."""
_CHUNK = 16
"""Items handed to a process at a time."""


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function` of every item, in their order, computed by one thread per CPU.

    At most twice as many items as threads are under way or waiting to be yielded. The first exception
    in order is raised; items that were not begun by then are not begun, those under way are finished.
    """
    num_threads = count_cpus()
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(num_threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def map_in_processes(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Iterator[Result]]:
    """Yield the results of `function`, a module's own, in the order of `items`.

    For work that holds the interpreter's lock, as far as threads would stand in each other's way. Raises as
    `start_processes` says.
    """
    num_workers = min(count_cpus(), math.ceil(len(items) / _ITEMS_PER_WORKER))
    if num_workers <= 1:
        yield map(function, items)
        return
    with start_processes(num_workers, f"{len(items):,} items") as pool:
        yield pool.map(function, items, chunksize=_CHUNK)


@contextmanager
def start_processes(num_workers: int, work: str) -> Iterator[ProcessPoolExecutor]:
    """Start processes for `work`, which is for messages: how many of what. An error ends all of it.

    Raises UserError if a process is killed. A script that calls this needs `if __name__ == "__main__":`, since every
    process imports it.
    """
    # Spawned, because a fork of a process that has threads (a progress bar) can hang.
    with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise UserError(
                f"expected {num_workers} processes to work on {work}, found one ended from outside, most likely for "
                "want of memory; free some, or allow fewer CPUs (`taskset`, a container's limit)"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Prefetcher(Generic[Result]):
    """`make(step)` of steps in ascending order, computed in one thread up to `depth` steps ahead.

    Any step may be asked for; one that is not the next throws away what was made ahead. An exception
    of `make` is raised by `get` of its step. Close it, or use it as a context: then no thread is left.
    """

    def __init__(self, make: Callable[[int], Result], depth: int = 2) -> None:
        self._make = make
        self._depth = depth
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._ahead: deque[tuple[int, Future[Result]]] = deque()

    def get(self, step: int) -> Result:
        """Return `make(step)`, and let the thread go on with the steps after it."""
        if self._ahead and self._ahead[0][0] != step:
            self._drop()
        while len(self._ahead) <= self._depth:
            following = self._ahead[-1][0] + 1 if self._ahead else step
            self._ahead.append((following, self._pool.submit(self._make, following)))
        return self._ahead.popleft()[1].result()

    def close(self) -> None:
        """Wait for the step under way, drop the others, and end the thread."""
        self._drop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drop(self) -> None:
        for _, future in self._ahead:
            future.cancel()
        self._ahead.clear()

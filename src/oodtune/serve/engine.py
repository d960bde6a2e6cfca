"""A queue bounded by time and the worker threads that empty it: decode, run, answer, in small batches."""

import asyncio
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from oodtune.bundle import Outputs, Pixels
from oodtune.errors import DataError
from oodtune.serve.job_queue import JobQueue
from oodtune.serve.metrics import Metrics
from oodtune.serve.refusal import RefusedError, late
from oodtune.serve.served_model import ServedModel
from oodtune.serve.settings import ServeSettings

log = logging.getLogger(__name__)

Seen = Callable[[int], None]
"""Is told how many pixels an encoded image has."""
Load = Callable[[ServedModel, Seen], Pixels]
"""Makes pixels (N, S, S, 3), N > 0, of a request, on a worker. Raises RefusedError or DataError."""


class Promise(Protocol):
    """Whom an answer is promised; asyncio.Future is one. All but `cancelled` is called by the event loop."""

    def cancelled(self) -> bool:
        """Tell whether nobody waits for it any more."""

    def done(self) -> bool:
        """Tell whether it has been answered, or nobody waits for it."""

    def set_result(self, result: Outputs, /) -> None: ...

    def set_exception(self, exception: Exception, /) -> None: ...


_MEMORY: Final = 0.9
"""Weight of what was known in the running mean of the time that a request takes."""
_MOMENT: Final = 0.4
"""In times of an image, which a larger batch repays."""
_LEAST_QUEUE: Final = 4
"""Requests per worker that may wait however long they take: a burst is no overload."""


@dataclass(eq=False)
class _Job:
    model: ServedModel
    load: Load
    answer: Promise
    deadline_s: float
    """On the clock of `time.perf_counter`."""
    enqueued_s: float = field(default_factory=time.perf_counter)


class Engine:
    """Computes outputs on `settings.workers` threads. What would wait longer than `max_wait_s` is refused at once."""

    def __init__(self, metrics: Metrics, settings: ServeSettings) -> None:
        self._metrics = metrics
        self._max_wait_s = settings.max_wait_s
        self._timeout_s = settings.timeout_s
        self._batch_wait_s = settings.batch_wait_s
        self._jobs: JobQueue[_Job | None] = JobQueue()
        self._job_s = 0.0
        self._taken = [0] * settings.workers
        """Of each worker, how many requests it is answering."""
        self._num_before = 0
        """Requests that waited or were being answered when the last batch was complete."""
        self._threads = [
            threading.Thread(target=self._work, args=(place,), name=f"predict-{place}", daemon=True)
            for place in range(settings.workers)
        ]
        metrics.queue_depth.set_function(lambda: self.num_waiting)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish what waits, then stop the workers. May block; no `predict` may follow."""
        for _ in range(self.num_alive):
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    @property
    def num_workers(self) -> int:
        return len(self._threads)

    @property
    def num_waiting(self) -> int:
        """Requests that no worker has taken yet."""
        return len(self._jobs)

    @property
    def num_alive(self) -> int:
        """Workers that still run; fewer than all of them means a bug."""
        return sum(thread.is_alive() for thread in self._threads)

    async def predict(self, model: ServedModel, load: Load, timeout_s: float | None = None) -> Outputs:
        """Return the outputs of the images that `load` makes. Raises as `submit` says."""
        answer: asyncio.Future[Outputs] = self._loop.create_future()
        self.submit(model, load, answer, timeout_s)
        return await answer

    def submit(self, model: ServedModel, load: Load, answer: Promise, timeout_s: float | None = None) -> None:
        """Let a worker compute the outputs of the images that `load` makes, for `answer`.

        Raises RefusedError if too much waits. `answer` gets one if no worker has begun with it within `timeout_s` (at
        most, and by default, the engine's), or what `load` raises; "bad_image" where that is DataError.
        """
        self._check_wait(model)
        timeout_s = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        self._jobs.put(_Job(model, load, answer, time.perf_counter() + timeout_s))

    def _check_wait(self, model: ServedModel) -> None:
        waiting = self.num_waiting
        if waiting < _LEAST_QUEUE * self.num_workers:
            return
        wait_s = waiting * (self._job_s or model.image_s) / self.num_workers
        if wait_s > self._max_wait_s:
            message = f"{waiting} requests wait already, about {wait_s:.1f} s; try again later"
            raise RefusedError("overloaded", message, max(1, math.ceil(wait_s - self._max_wait_s)))

    def _work(self, place: int) -> None:
        while (job := self._jobs.get()) is not None:
            is_last = self._take(place, job)
            self._taken[place] = 0
            del job  # an idle worker must not keep a version in memory that has been replaced
            if is_last:
                return

    def _take(self, place: int, first: _Job) -> bool:
        """Answer a batch; return whether it is the last of the worker at `place`."""
        jobs, is_last = self._gather(place, first)
        try:
            self._answer(jobs)
        except Exception as error:  # a bug must not leave clients without an answer
            log.exception("answering failed")
            for one in jobs:
                self._fail(one, error)
        return is_last

    def _gather(self, place: int, first: _Job) -> tuple[list[_Job], bool]:
        """Return a batch, and whether it is the last of the worker at `place`.

        It takes what waits: no idle worker is left that could. With a `batch_wait_s`, it waits so long for more.
        Without, it takes no more than its share, and waits for that a moment while another is busy: those whom that
        one answers ask again, one after another. Without shares, clients that ask again at once stay as uneven as they
        began: one worker with batches of two and one with six do less than two with four.
        """
        jobs = [first]
        others_are_busy = self._jobs.num_idle < self.num_workers - 1
        wait_s = self._batch_wait_s or others_are_busy * _MOMENT * first.model.image_s
        until_s = time.perf_counter() + wait_s
        while True:
            self._taken[place] = len(jobs)
            num_now = sum(self._taken) + self.num_waiting
            share = math.ceil(max(num_now, self._num_before) / self.num_workers)
            if len(jobs) >= first.model.max_batch or (len(jobs) >= share and not self._batch_wait_s):
                break
            try:
                follower = self._jobs.get(until_s)
            except queue.Empty:
                break
            if follower is None:
                return jobs, True
            jobs.append(follower)
        self._num_before = num_now
        return jobs, False

    def _answer(self, jobs: Sequence[_Job]) -> None:
        begun_s = time.perf_counter()
        loaded = [(job, pixels) for job in jobs if (pixels := self._load(job)) is not None]
        decoded_s = time.perf_counter()
        self._metrics.decode.observe((decoded_s - begun_s) / len(jobs))
        # While a new version comes, a batch may hold requests of both.
        for model in dict.fromkeys(job.model for job, _ in loaded):
            self._run(model, [(job, pixels) for job, pixels in loaded if job.model is model])
        spent_s = (time.perf_counter() - begun_s) / len(jobs)
        # Begun with the warm-up's: a first request that imports something must not have others refused.
        self._job_s = _MEMORY * (self._job_s or jobs[0].model.image_s) + (1 - _MEMORY) * spent_s

    def _load(self, job: _Job) -> Pixels | None:
        now_s = time.perf_counter()
        self._metrics.queue.observe(now_s - job.enqueued_s)
        if job.answer.cancelled():
            return None  # the client has gone
        try:
            if now_s > job.deadline_s:
                raise late()
            return job.load(job.model, self._metrics.image_pixels.observe)
        except RefusedError as error:
            self._fail(job, error)
        except DataError as error:
            self._fail(job, RefusedError("bad_image", str(error)))
        except Exception as error:  # one request's bug must not end the worker of all others
            log.exception("reading a request failed")
            self._fail(job, error)
        return None

    def _run(self, model: ServedModel, loaded: Sequence[tuple[_Job, Pixels]]) -> None:
        started_s = time.perf_counter()
        pixels = loaded[0][1] if len(loaded) == 1 else np.concatenate([part for _, part in loaded])  # (N, S, S, 3)
        parts = [model.bundle.run(pixels[at : at + model.max_batch]) for at in range(0, len(pixels), model.max_batch)]
        outputs = parts[0] if len(parts) == 1 else Outputs(*map(np.concatenate, zip(*parts, strict=True)))
        self._metrics.inference.observe((time.perf_counter() - started_s) / len(pixels))
        self._metrics.batch_size.observe(len(pixels))
        self._metrics.observe(model, outputs)
        answers, at = [], 0
        for job, part in loaded:
            answers.append((job.answer, Outputs(*(rows[at : at + len(part)] for rows in outputs))))
            at += len(part)
        self._loop.call_soon_threadsafe(_resolve, answers)

    def _fail(self, job: _Job, error: Exception) -> None:
        self._loop.call_soon_threadsafe(_reject, job.answer, error)


def _resolve(answers: Sequence[tuple[Promise, Outputs]]) -> None:
    for answer, outputs in answers:
        if not answer.done():
            answer.set_result(outputs)


def _reject(answer: Promise, error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)

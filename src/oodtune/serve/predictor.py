"""A bounded queue and the worker threads that empty it: decode, preprocess, run, one image at a time."""

import asyncio
import logging
import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from oodtune.bundle import Bundle, Floats
from oodtune.errors import DataError
from oodtune.preprocess import decode_image, preprocess
from oodtune.serve.metrics import Metrics

log = logging.getLogger(__name__)


class QueueFullError(Exception):
    """As many images wait as may wait."""


@dataclass(frozen=True)
class _Job:
    body: bytes
    answer: "Future[Floats]" = field(default_factory=Future)
    """Probabilities (K,)."""
    enqueued_s: float = field(default_factory=time.perf_counter)


class Predictor:
    """Predicts encoded images on `num_workers` threads; at most `max_waiting` more wait for one."""

    def __init__(self, bundle: Bundle, metrics: Metrics, num_workers: int, max_waiting: int) -> None:
        self._bundle = bundle
        self._metrics = metrics
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=max_waiting)
        self._threads = [
            threading.Thread(target=self._work, name=f"predict-{i}", daemon=True) for i in range(num_workers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish what waits, then stop the workers. May block; no `predict` may follow."""
        for _ in range(self.num_alive):
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    @property
    def num_alive(self) -> int:
        """Workers that still run; fewer than all of them means a bug."""
        return sum(thread.is_alive() for thread in self._threads)

    async def predict(self, body: bytes) -> Floats:
        """Return the probabilities (K,) of an encoded image.

        Raises QueueFullError if too many wait, DataError if `body` is not a whole image of a known format.
        """
        job = _Job(body)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise QueueFullError from None
        return await asyncio.wrap_future(job.answer)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._metrics.queue.observe(time.perf_counter() - job.enqueued_s)
            if not job.answer.set_running_or_notify_cancel():
                continue  # the client has gone
            try:
                job.answer.set_result(self._predict(job.body))
            except DataError as error:
                job.answer.set_exception(error)
            except Exception as error:  # one image's bug must not end the worker of all others
                log.exception("prediction failed")
                job.answer.set_exception(error)

    def _predict(self, body: bytes) -> Floats:
        with self._metrics.decode.time():
            pixels = preprocess(decode_image(body), self._bundle.preprocess)  # (S, S, 3)
        with self._metrics.inference.time():
            _, probabilities = self._bundle.run(pixels[None])  # (1, K)
        best = int(probabilities[0].argmax())
        self._metrics.predicted.labels(self._bundle.classes[best]).inc()
        answer: Floats = probabilities[0]
        return answer

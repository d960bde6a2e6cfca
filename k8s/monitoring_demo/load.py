"""Load on the endpoint: images in a round, from a few clients, at a steady pace; every answer is counted."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import httpx

NO_ANSWER: Final = 0
"""Counted in the place of a status where there was none."""


@dataclass
class Load:
    """Requests to `/v1/classify` of the server at `url`."""

    url: str
    per_second: float
    """At most; with fewer where the server does not keep up."""
    num_clients: int = 4
    statuses: Counter[int] = field(default_factory=Counter)
    """Status -> answers so far."""
    _stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, images: Sequence[bytes], count: int) -> None:
        """Send `count` requests and return when all are answered, or soon after `stop`."""
        begun_s, places = time.monotonic(), iter(range(count))
        with ThreadPoolExecutor(self.num_clients) as pool:
            clients = [pool.submit(self._work, images, places, begun_s) for _ in range(self.num_clients)]
        for client in clients:
            client.result()

    def stop(self) -> None:
        self._stopped.set()

    def _work(self, images: Sequence[bytes], places: Iterator[int], begun_s: float) -> None:
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as client:
            while (place := self._next(places)) is not None:
                due_s = begun_s + place / self.per_second
                if self._stopped.wait(max(0.0, due_s - time.monotonic())):
                    return
                status = _ask(client, images[place % len(images)])
                with self._lock:
                    self.statuses[status] += 1

    def _next(self, places: Iterator[int]) -> int | None:
        with self._lock:
            return next(places, None)


def _ask(client: httpx.Client, image: bytes) -> int:
    try:
        return client.post("/v1/classify", content=image).status_code
    except httpx.TransportError:
        return NO_ANSWER

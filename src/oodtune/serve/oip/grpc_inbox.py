"""Messages of gRPC clients: read within limits of time and of what all of them together hold in memory."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from oodtune.serve.body import BODY_TIMEOUT_S
from oodtune.serve.refusal import RefusedError

PATIENCE_S: Final = 1.0
"""A message that has been on its way for longer gives way to those that wait for its memory."""


class Inbox:
    """Reads messages of at most `max_bytes`; those on their way or in work hold at most `max_total_bytes`.

    How long a message will be is not known before it is whole, so one on its way counts with `max_bytes`.
    """

    def __init__(self, max_bytes: int, max_total_bytes: int, max_wait_s: float) -> None:
        self._max_bytes = max_bytes
        self._free_bytes = max(max_bytes, max_total_bytes)
        self._max_wait_s = max_wait_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._reading: dict[asyncio.Timeout, float] = {}
        """Since when, on the clock of `time.monotonic`; the oldest is first."""

    @asynccontextmanager
    async def read(self, context: Any) -> AsyncIterator[bytes]:
        """Yield the call's one message; it counts as held until the block ends. Raises RefusedError."""
        await self._reserve()
        held = self._max_bytes
        try:
            raw = await self._receive(context)
            held = min(len(raw), self._max_bytes)
            self._release(self._max_bytes - held)
            yield raw
        finally:
            self._release(held)

    async def _receive(self, context: Any) -> bytes:
        timeout = asyncio.timeout(BODY_TIMEOUT_S)
        try:
            async with timeout:
                self._reading[timeout] = time.monotonic()
                raw = await context.read()
        except TimeoutError:
            raise RefusedError("timeout", "expected the whole message sooner; send it faster") from None
        finally:
            self._reading.pop(timeout, None)
        if not isinstance(raw, bytes):
            raise RefusedError("bad_request", "expected a message, found the end of the call")
        return raw

    async def _reserve(self) -> None:
        if self._free_bytes >= self._max_bytes and not self._waiting:
            self._free_bytes -= self._max_bytes
            return
        self._expire_oldest()
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self._max_wait_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._release(self._max_bytes)
            if isinstance(error, TimeoutError):
                raise RefusedError("overloaded", "too many large requests at once; try again in a second", 1) from None
            raise

    def _release(self, num_bytes: int) -> None:
        self._free_bytes += num_bytes
        while self._waiting and self._free_bytes >= self._max_bytes:
            place = self._waiting.popleft()
            if not place.done():
                self._free_bytes -= self._max_bytes
                place.set_result(None)

    def _expire_oldest(self) -> None:
        now_s = time.monotonic()
        for timeout, begun_s in self._reading.items():
            if now_s - begun_s < PATIENCE_S:
                return
            if not timeout.expired():
                timeout.reschedule(asyncio.get_running_loop().time())
                return

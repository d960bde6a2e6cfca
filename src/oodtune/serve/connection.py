"""uvicorn's HTTP/1.1 in fewer steps: every system call of the event loop is a chance to lose the interpreter's lock."""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

CALM_S: Final = 0.1
"""How long nothing is read from a client whose request was refused for now. One that asks again at once, whatever
`Retry-After` says, would otherwise take from the workers what it takes to refuse it: with 256 of them, two thirds."""


class Connection(HttpToolsProtocol):
    """Head and body of an answer in one write, no round of the loop after it, one timer for all that clients owe."""

    refused: bool = False
    """The last answer asked the client to come again later."""

    _timer: asyncio.TimerHandle | None = None
    """May run longer than it need: what is due is looked up when it ends. A timer for every request costs more."""
    _timer_s: float = math.inf
    _due_s: float = math.inf
    """When `_late` is to be called, on the loop's clock; infinite: the client owes nothing."""
    _late: Callable[[], None]
    _awaits_request: bool = False
    """The client has been answered all that it has asked, and owes nothing but the beginning of another request."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.scope["method"] != "HEAD":  # such an answer is its head alone
            self.cycle.transport = _OneWrite(self.cycle, self)  # type: ignore[assignment]

    def on_response_complete(self) -> None:
        """Go on with the next request that is there, or wait for one: after a refusal, not at once."""
        self.server_state.total_requests += 1
        if self.refused:
            self.refused = False
            self.flow.pause_reading()
            self.loop.call_later(CALM_S, self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._await_request()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        async def answer() -> None:
            try:
                await cycle.run_asgi(app)
            finally:
                self.tasks.discard(task)  # uvicorn does it in a callback, which takes another round of the loop

        task = self.loop.create_task(answer())
        self.tasks.add(task)

    @property
    def is_idle(self) -> bool:
        """True while no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _await_request(self) -> None:
        self._expect(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        self._awaits_request = True

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn says this when anything comes."""
        if self._awaits_request:
            self._expect_nothing()

    def _expect(self, seconds: float, late: Callable[[], None]) -> None:
        """Call `late` if nothing else is expected by then."""
        self._due_s, self._late, self._awaits_request = self.loop.time() + seconds, late, False
        if self._due_s < self._timer_s:
            self._start_timer()

    def _expect_nothing(self) -> None:
        self._due_s, self._awaits_request = math.inf, False

    @property
    def _expects_nothing(self) -> bool:
        return self._due_s == math.inf

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer_s = self._due_s
        self._timer = self.loop.call_at(self._timer_s, self._end_timer)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_s = None, math.inf

    def _end_timer(self) -> None:
        is_late = self._due_s <= self._timer_s
        self._timer, self._timer_s = None, math.inf
        if is_late:
            self._late()
        elif self._due_s < math.inf:
            self._start_timer()


class _OneWrite:
    """The transport as one answer sees it: its head waits for the first of its body."""

    def __init__(self, cycle: RequestResponseCycle, connection: Connection) -> None:
        self._cycle = cycle
        self._connection = connection
        self._transport = connection.transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is None and self._cycle.response_started:  # before that, it is a "100 Continue"
            self._head = data
            self._connection.refused = b"\r\nretry-after: " in data
            return
        self._transport.write((self._head or b"") + data)
        if self._head:
            self._head = b""

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

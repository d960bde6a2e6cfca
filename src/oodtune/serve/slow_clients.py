"""What one connection may cost: its time, its header, its pieces, its pipeline. uvicorn bounds none of these."""

import asyncio
import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import ClassVar, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from oodtune.serve.answers import error_body
from oodtune.serve.direct import DirectConnection, DirectRoutes
from oodtune.serve.refusal import Reason

_SPARE_FILES: Final = 64
"""Descriptors that are not connections: models, listeners, logs."""
_SMALL_PIECE_BYTES: Final = 1024
_FIELD_BYTES: Final = 32
"""What a header costs beside its text, as HTTP/2 counts it."""
_FEW_FIELDS: Final = 100


@dataclass(frozen=True)
class Limits:
    """Of every connection, and of how many there may be."""

    head_timeout_s: float = 10.0
    """From a connection, or the first byte of a further request, to the end of the request's headers."""
    write_timeout_s: float = 30.0
    """How long a client may not read its answer."""
    max_head_bytes: int = 32 * 1024
    """Of request line and headers; of trailers and anything else that is not a body, too."""
    max_small_pieces: int = 65_536
    """Chunks of a body that are smaller than 1 KiB: each costs as much work as a large one."""
    max_pipelined: int = 64
    """Requests that may wait for the answer to the one before them on the same connection."""
    max_connections: int = 4096
    """Further ones are closed at once; also bounded by the files that this process may open."""


class _BrokenLimitError(Exception):
    """Raised in a callback of the parser, which stops it."""


class LimitedProtocol(DirectConnection):
    """HTTP/1.1 within limits; what it cannot read is answered as JSON like every other error."""

    limits: ClassVar[Limits] = Limits()
    _unread: asyncio.TimerHandle | None = None
    """Runs while the client does not read."""
    _status: HTTPStatus = HTTPStatus.BAD_REQUEST
    _reason: Reason = "bad_request"
    _expected: str = "expected a request in HTTP/1.1; send one"
    _progressed: bool = False
    _loose_bytes: int = 0
    """Received since a head, a piece of body or a request was last whole: no less than what the parser holds."""
    _small_pieces: int = 0

    def reject(self, reason: Reason) -> None:
        """The connection is about to be closed: it broke a limit."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self.reject("overloaded")
            transport.abort()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._progressed = False
        self._loose_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._progressed:
            self._loose_bytes = 0
        elif self._loose_bytes > self.limits.max_head_bytes:
            self._note_large_head()
            self.send_400_response("")
            return
        self._watch()

    def on_headers_complete(self) -> None:
        self._progressed = True
        self._small_pieces = 0
        if len(self.headers) > _FEW_FIELDS or self._loose_bytes > self.limits.max_head_bytes:  # else it is small
            size = len(self.url) + sum(len(name) + len(value) + _FIELD_BYTES for name, value in self.headers)
            if size > self.limits.max_head_bytes:
                self._note_large_head()
                raise _BrokenLimitError
        if len(self.pipeline) >= self.limits.max_pipelined:
            self._expected = f"expected at most {self.limits.max_pipelined} requests ahead of their answers; wait"
            raise _BrokenLimitError
        super().on_headers_complete()
        self.headers = []  # a trailer is no header: what was checked stays as it was

    def on_body(self, body: bytes) -> None:
        self._progressed = True
        if len(body) < _SMALL_PIECE_BYTES:
            self._small_pieces += 1
            if self._small_pieces > self.limits.max_small_pieces:
                self._expected = "expected a body in chunks of 1 KiB and more; send larger ones"
                raise _BrokenLimitError
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progressed = True
        super().on_message_complete()
        if self.cycle.response_complete:  # it was answered early: only now is the connection idle
            self._await_request()

    def send_400_response(self, msg: str) -> None:
        """Answer what is wrong, if the client can tell which request that is about, and close. `msg` is uvicorn's."""
        self.reject(self._reason)
        if not (self.pipeline or (self.cycle is not None and self.cycle.response_started)) or self.is_idle:
            body = error_body(self._expected)
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[self._status] + head + body)
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def _watch(self) -> None:
        """Expect bytes: the rest of a body; or a request, while none is being answered or awaited for longer."""
        if self._awaits_body:
            self._expect_body()
        elif not self.is_idle:
            self._expect_nothing()
        elif self._expects_nothing:
            self._expect(self.limits.head_timeout_s, self._give_up)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self._status, self._reason = HTTPStatus.REQUEST_TIMEOUT, "timeout"
            self._expected = f"expected a whole request within {self.limits.head_timeout_s:g} s; send it faster"
            self.send_400_response("")

    def _note_large_head(self) -> None:
        self._status, self._reason = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large"
        self._expected = f"expected headers of at most {self.limits.max_head_bytes} bytes; send fewer"


def limited_protocol(
    reject: Callable[[Reason], None], limits: Limits | None = None, direct_routes: DirectRoutes | None = None
) -> type[LimitedProtocol]:
    """Return the class for `uvicorn.Config(http=...)`; `reject` is told of every connection that breaks a limit.

    Without `direct_routes`, all requests go through ASGI.
    """
    found = limits or Limits()
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY:
        found = replace(found, max_connections=max(1, min(found.max_connections, files - _SPARE_FILES)))

    class Protocol(LimitedProtocol):
        limits = found
        routes = direct_routes

        def reject(self, reason: Reason) -> None:
            reject(reason)

    return Protocol

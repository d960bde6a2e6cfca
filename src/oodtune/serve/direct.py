"""Predictions answered on their connection, without ASGI: no task, no scope, no objects of requests and responses.

The model pushes all else out of the CPU's caches, and what runs between two images runs cold: there, the way through
ASGI takes several times its warm time. So plain requests take this one; whatever is odd about a request before its
body, a refusal too, takes that, and is answered the same (`tests/unit/serve/test_direct.py` compares them).
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from oodtune.bundle import Outputs
from oodtune.serve.answers import BUG, CLIENT_CLOSED_REQUEST, JSON, error_body
from oodtune.serve.auth import TokenCheck
from oodtune.serve.body import BODY_TIMEOUT_S, slow_body
from oodtune.serve.connection import Connection
from oodtune.serve.logs import is_logged, log_request, logged_as, take_request_id
from oodtune.serve.prediction import Head, Open, Prediction, write
from oodtune.serve.refusal import RefusedError

if TYPE_CHECKING:
    from oodtune.serve.parts import Parts

log = logging.getLogger(__name__)

_ODD: Final = frozenset({b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"})
"""Headers of requests that need ASGI."""


class DirectRoutes:
    """What opens predictions, by path; one that names a version needs ASGI."""

    def __init__(self, parts: "Parts", openers: Mapping[str, Open]) -> None:
        self.parts = parts
        self._path = {"name": parts.settings.name}
        self._openers = {
            path.format(**self._path).encode(): (path, open_)
            for path, open_ in openers.items()
            if "{version}" not in path
        }
        token = parts.settings.token
        self._token = None if token is None else TokenCheck(token)

    def open(self, url: bytes, fields: list[tuple[bytes, bytes]]) -> tuple[str, Head, Prediction] | None:
        """Return the route, head and prediction of a POST whose header has `fields`; None if it needs ASGI."""
        path, _, query = url.partition(b"?")
        found = self._openers.get(path)
        if found is None:
            return None
        headers = dict(fields)
        if len(headers) < len(fields) or not _ODD.isdisjoint(headers):
            return None
        length = headers.get(b"content-length")
        if length is None or not self.parts.bodies.fits(int(length)):
            return None
        head = Head(headers, query, self._path)
        try:
            if self._token is not None:
                self._token.check([headers.get(b"authorization", b"")])
            return found[0], head, found[1](head)
        except RefusedError:
            return None


class DirectConnection(Connection):
    """Answers plain requests for predictions itself, and leaves all others to ASGI."""

    routes: ClassVar[DirectRoutes | None] = None

    _direct: "_Direct | None" = None
    """The cycle, if it is one of these."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._direct is not None:
            self._direct.abandon()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        self._direct = self._open()
        if self._direct is None:
            super().on_headers_complete()
        else:
            self.cycle = self._direct  # type: ignore[assignment]
            self._expect_nothing()  # whatever the head was late for

    def on_body(self, body: bytes) -> None:
        if self._direct is None:
            super().on_body(body)
        else:
            self._direct.receive(body)

    def on_message_complete(self) -> None:
        if self._direct is None:
            super().on_message_complete()
        else:
            self._expect_nothing()
            self._direct.begin()

    @property
    def _awaits_body(self) -> bool:
        direct = self._direct
        return direct is not None and direct.more_body and not direct.response_complete

    def _expect_body(self) -> None:
        """Give the body that has begun its time; to be called once what has been received is read."""
        if self._expects_nothing:
            self._expect(BODY_TIMEOUT_S, self._refuse_slow_body)

    def _refuse_slow_body(self) -> None:
        if self._direct is not None and self._awaits_body:
            self._direct.set_exception(slow_body())

    def _open(self) -> "_Direct | None":
        if self.routes is None or not self.is_idle or self.flow.write_paused:
            return None
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return None
        opened = self.routes.open(self.url, self.headers)
        return None if opened is None else _Direct(self, self.routes.parts, *opened, self.parser.should_keep_alive())


class _NoEvent:
    def set(self) -> None:
        """Nobody waits for it."""


class _Direct:
    """One request, and its answer's promise (`engine.Promise`). To uvicorn, it looks like a cycle of its own."""

    disconnected = False
    response_started = False
    response_complete = False
    more_body = True
    message_event: Final = _NoEvent()

    def __init__(
        self,
        connection: DirectConnection,
        parts: "Parts",
        route: str,
        head: Head,
        prediction: Prediction,
        keep_alive: bool,
    ) -> None:
        self.keep_alive = keep_alive
        self._connection, self._parts = connection, parts
        self._route, self._head = route, head
        self._prediction: Prediction | None = prediction
        """None once it is answered: a connection keeps its last request until the next."""
        self._held = parts.bodies.hold()
        self._begun_s = parts.metrics.begin_request()
        self._reason: str | None = None
        self._request_id = take_request_id(head.headers.get(b"x-request-id", b""))

    def receive(self, piece: bytes) -> None:
        if self.response_complete:
            return
        try:
            self._held.add(piece)
        except RefusedError as refusal:
            self.set_exception(refusal)

    def begin(self) -> None:
        """The body is whole: let a worker have it."""
        self.more_body = False
        prediction = self._prediction
        if prediction is None:
            return
        try:
            prediction.read(self._held.join())
            self._parts.engine.submit(prediction.model, prediction.load, self, prediction.timeout_s)
        except Exception as error:  # noqa: BLE001  set_exception logs it
            self.set_exception(error)

    def abandon(self) -> None:
        """The client has gone."""
        if not self.response_complete:
            self._end(CLIENT_CLOSED_REQUEST)

    def cancelled(self) -> bool:
        return self.response_complete

    def done(self) -> bool:
        return self.response_complete

    def set_result(self, result: Outputs) -> None:
        prediction = self._prediction
        assert prediction is not None
        if prediction.is_long(result):
            task = self._connection.loop.create_task(self._write_apart(prediction, result))
            self._connection.tasks.add(task)
            task.add_done_callback(self._connection.tasks.discard)
            return
        try:
            answer = prediction.write(result)
        except Exception as error:  # noqa: BLE001  set_exception logs it
            self.set_exception(error)
        else:
            self._send(HTTPStatus.OK, answer.body, answer.headers)

    def set_exception(self, exception: Exception) -> None:
        if isinstance(exception, RefusedError):
            self._reason = exception.reason
            self._parts.metrics.reject(exception.reason)
            headers = {**JSON, **exception.headers}
            self._send(exception.status, error_body(exception.message), headers)
            return
        with logged_as(self._request_id):
            log.error("a prediction failed", exc_info=exception)
        self._send(HTTPStatus.INTERNAL_SERVER_ERROR, error_body(BUG), JSON)

    async def _write_apart(self, prediction: Prediction, outputs: Outputs) -> None:
        try:
            answer = await write(prediction, outputs)
        except Exception as error:  # noqa: BLE001  set_exception logs it
            self.set_exception(error)
        else:
            self._send(HTTPStatus.OK, answer.body, answer.headers)

    def _send(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
        if self.response_complete:  # the client has gone while the answer was written
            return
        connection = self._connection
        self.keep_alive &= not self._parts.health.draining and headers.get("connection") != "close"
        text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        text += f"content-length: {len(body)}\r\nx-request-id: {self._request_id}\r\n"
        if not self.keep_alive and "connection" not in headers:
            text += "connection: close\r\n"
        defaults = [b"%b: %b\r\n" % pair for pair in connection.server_state.default_headers]
        self._end(int(status))
        if not connection.transport.is_closing():
            head = (STATUS_LINE[status], *defaults, text.encode("latin-1"), b"\r\n")
            connection.transport.write(b"".join((*head, body)))
        if not self.keep_alive:
            connection.transport.close()
        connection.refused = "retry-after" in headers
        connection.on_response_complete()

    def _end(self, code: int) -> None:
        self.response_started = self.response_complete = True
        self._prediction = None
        self._held.release()
        parts = self._parts
        seconds = parts.metrics.end_request(self._route, code, self._begun_s)
        if is_logged(code, parts.settings.access_log):
            with logged_as(self._request_id):
                log_request(self._scope(), code, seconds, parts.served.version)

    def _scope(self) -> dict[str, object]:
        """Return what ASGI's scope would say of it, for its log."""
        return {
            "method": "POST",
            "headers": self._head.headers.items(),
            "client": self._connection.client,
            "oodtune.route": self._route,
            "oodtune.reason": self._reason,
        }

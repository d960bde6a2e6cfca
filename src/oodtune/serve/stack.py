"""What every request passes before its handler: counts, logs, and a short cut for predictions."""

import logging
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oodtune.serve.answers import Handler, answer_bug
from oodtune.serve.auth import RequireToken, TokenCheck
from oodtune.serve.logs import log_request, take_request_id
from oodtune.serve.parts import Parts

log = logging.getLogger(__name__)

HOT_PATHS: Final = ("/v1/classify", "/v2/models/{name}/infer")


class Application(Starlette):
    """Starlette, behind a short cut: its own stack and its search through all routes cost a tenth of a millisecond."""

    parts: Parts
    hot: Mapping[str, Handler]
    """Path of a route -> its handler: what is POSTed to these is answered before Starlette sees it."""

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = ShortCut(super().build_middleware_stack(), self.hot, self.parts.settings.name)
        if self.parts.settings.token is not None:
            app = RequireToken(app, TokenCheck(self.parts.settings.token), self.parts.metrics)
        return Watch(app, self.parts)


class Watch:
    """Counts and logs every request, whoever answers it; ends connections while the server drains."""

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics, health = self._parts.metrics, self._parts.health
        begun_s = time.perf_counter()
        request_id = take_request_id(scope)
        code = int(HTTPStatus.INTERNAL_SERVER_ERROR)  # what the server answers if nothing below does

        async def send_and_note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
                if health.draining:
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            metrics.in_flight.dec()
            seconds = time.perf_counter() - begun_s
            metrics.count_request(scope.get("oodtune.route", "other"), code, seconds)
            version = self._parts.served.version
            log_request(scope, code, seconds, version, self._parts.settings.access_log)


class ShortCut:
    """Answers predictions; passes everything else on."""

    def __init__(self, app: ASGIApp, hot: Mapping[str, Handler], model_name: str) -> None:
        self._app = app
        self._handlers = {path.format(name=model_name): handler for path, handler in hot.items()}
        self._path_params = {"name": model_name}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        scope["path_params"] = self._path_params
        request = Request(scope, receive)
        try:
            response = await handler(request)
        except Exception as error:  # the client is told nothing of a bug, and its connection lives on
            log.exception("a handler failed")
            response = await answer_bug(request, error)
        await response(scope, receive, send)

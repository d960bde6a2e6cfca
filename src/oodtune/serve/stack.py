"""What every request passes before its handler: counts and logs, and the token if there is one."""

from http import HTTPStatus

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oodtune.serve.auth import RequireToken, TokenCheck
from oodtune.serve.logs import is_logged, log_request, log_task_as, take_request_id
from oodtune.serve.parts import Parts


class Application(Starlette):
    """Starlette, behind what counts and who may ask."""

    parts: Parts

    def build_middleware_stack(self) -> ASGIApp:
        app = super().build_middleware_stack()
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
        begun_s = self._parts.metrics.begin_request()
        request_id = take_request_id(next((value for name, value in scope["headers"] if name == b"x-request-id"), b""))
        code = int(HTTPStatus.INTERNAL_SERVER_ERROR)  # what the server answers if nothing below does

        async def send_and_note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
                if self._parts.health.draining:
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        log_task_as(request_id)
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            seconds = self._parts.metrics.end_request(scope.get("oodtune.route", "other"), code, begun_s)
            if is_logged(code, self._parts.settings.access_log):
                log_request(scope, code, seconds, self._parts.served.version)

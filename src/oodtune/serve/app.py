"""The HTTP interface: which route is answered by what. Every error is JSON {"error": ...}."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oodtune.errors import UserError
from oodtune.serve import openapi, page
from oodtune.serve.answers import answer_bug, answer_http_error, error_answer, refusal_answer
from oodtune.serve.auth import RequireToken, TokenCheck
from oodtune.serve.classify import Classify
from oodtune.serve.logs import log_event, log_request, take_request_id
from oodtune.serve.metrics import CONTENT_TYPE, Metrics
from oodtune.serve.oip import rest
from oodtune.serve.parts import DRAIN_S, Parts
from oodtune.serve.refusal import RefusedError

CLIENT_CLOSED_REQUEST: Final = 499

Handler = Callable[[Request], Awaitable[Response]]


def create_app(parts: Parts) -> Starlette:
    """Return the ASGI application. Its lifespan starts the workers and lets them finish at the end."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        parts.engine.start()
        async with _grpc(parts):
            yield
        await asyncio.to_thread(parts.engine.close)

    table: list[tuple[str, str, Handler]] = [
        ("POST", "/v1/classify", Classify(parts.served, parts.engine, parts.bodies)),
        ("GET", "/healthz", parts.health.summary),
        *rest.routes(parts),
        *openapi.routes(parts),
        *page.routes(parts),
    ]
    if parts.settings.metrics_port is None:
        table.append(("GET", "/metrics", _Exposition(parts.metrics)))
    middleware = [Middleware(_Watch, parts=parts)]
    if parts.settings.token is not None:
        middleware.append(Middleware(RequireToken, check=TokenCheck(parts.settings.token), metrics=parts.metrics))
    handlers = [(method, path, _answering(path, handler, parts.metrics)) for method, path, handler in table]
    middleware.append(Middleware(_ShortCut, handlers=handlers, model_name=parts.settings.name))
    app = Starlette(
        routes=[Route(path, handler, methods=[method]) for method, path, handler in handlers],
        lifespan=lifespan,
        middleware=middleware,
        exception_handlers={HTTPException: answer_http_error, Exception: answer_bug},
    )
    app.router.redirect_slashes = False  # a redirect is no JSON
    return app


def _answering(path: str, handler: Handler, metrics: Metrics) -> Handler:
    """Return the handler that counts and answers refusals; `path` is what metrics call it."""

    async def answer(request: Request) -> Response:
        request.scope["oodtune.route"] = path
        try:
            return await handler(request)
        except RefusedError as refusal:
            request.scope["oodtune.reason"] = refusal.reason
            metrics.reject(refusal.reason)
            return refusal_answer(refusal)
        except ClientDisconnect:
            return error_answer(CLIENT_CLOSED_REQUEST, "the client closed the connection")

    return answer


class _Exposition:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, request: Request) -> Response:
        return Response(self._metrics.render(), headers={"content-type": CONTENT_TYPE})


class _Watch:
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
            metrics.requests.labels(scope.get("oodtune.route", "other"), str(code)).inc()
            version = self._parts.served.version
            log_request(scope, code, time.perf_counter() - begun_s, version, self._parts.settings.access_log)


class _ShortCut:
    """Answers predictions without a search through all routes, which costs a tenth of a millisecond."""

    def __init__(self, app: ASGIApp, handlers: list[tuple[str, str, Handler]], model_name: str) -> None:
        self._app = app
        paths = {"/v1/classify": {}, "/v2/models/{name}/infer": {"name": model_name}}
        self._handlers = {
            path.format(**paths[path]): (handler, paths[path])
            for method, path, handler in handlers
            if method == "POST" and path in paths
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._handlers.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        handler, scope["path_params"] = found
        response = await handler(Request(scope, receive))
        await response(scope, receive, send)


@asynccontextmanager
async def _grpc(parts: Parts) -> AsyncIterator[None]:
    """Serve the Open Inference Protocol over gRPC, too, if the settings give it a port."""
    if parts.settings.grpc_port is None:
        yield
        return
    from oodtune.serve.oip.grpc_server import start_grpc

    try:
        server = await start_grpc(parts)
    except UserError as error:  # raised here, it would be a traceback
        parts.failures.append(error)
        yield
        return
    log_event("listening", protocol="grpc", port=server.port)
    yield
    await server.stop(DRAIN_S)

"""The HTTP interface: which route is answered by what. Every error is JSON {"error": ...}."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from oodtune.errors import UserError
from oodtune.serve import openapi, page
from oodtune.serve.answers import (
    CLIENT_CLOSED_REQUEST,
    Handler,
    answer_bug,
    answer_http_error,
    error_answer,
    refusal_answer,
)
from oodtune.serve.classify import Classify
from oodtune.serve.logs import log_event
from oodtune.serve.metrics import CONTENT_TYPE, Metrics
from oodtune.serve.oip import rest
from oodtune.serve.parts import DRAIN_S, Parts
from oodtune.serve.prediction import Open, PredictionHandler
from oodtune.serve.refusal import RefusedError
from oodtune.serve.stack import Application


def create_app(parts: Parts) -> Starlette:
    """Return the ASGI application. Its lifespan starts the workers and lets them finish at the end."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        parts.engine.start()
        async with _grpc(parts):
            yield
        await asyncio.to_thread(parts.engine.close)

    table: list[tuple[str, str, Handler]] = [
        *(
            ("POST", path, PredictionHandler(open_, parts.engine, parts.bodies))
            for path, open_ in predictions(parts).items()
        ),
        ("GET", "/healthz", parts.health.summary),
        *rest.routes(parts),
        *openapi.routes(parts),
        *page.routes(parts),
    ]
    if parts.settings.metrics_port is None:
        table.append(("GET", "/metrics", _Exposition(parts.metrics)))
    handlers = [(method, path, _answering(path, handler, parts.metrics)) for method, path, handler in table]
    app = Application(
        routes=[Route(path, handler, methods=[method]) for method, path, handler in handlers],
        lifespan=lifespan,
        exception_handlers={HTTPException: answer_http_error, Exception: answer_bug},
    )
    app.parts = parts
    app.router.redirect_slashes = False  # a redirect is no JSON
    return app


def predictions(parts: Parts) -> dict[str, Open]:
    """Return path -> what opens the requests for predictions that are POSTed there."""
    return {"/v1/classify": Classify(parts.served), **rest.predictions(parts)}


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

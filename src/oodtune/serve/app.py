"""The HTTP interface: POST /v1/classify, GET /healthz, GET /metrics. Every error is JSON {"error": ...}."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oodtune.bundle import Bundle, Floats
from oodtune.errors import DataError
from oodtune.serve.metrics import CONTENT_TYPE, Metrics, Reason
from oodtune.serve.predictor import Predictor, QueueFullError
from oodtune.serve.settings import ServeSettings

BODY_TIMEOUT_S: Final = 30.0
"""A body that trickles in longer than this is refused."""
DEFAULT_TOP_K: Final = 5
CLIENT_CLOSED_REQUEST: Final = 499


def create_app(bundle: Bundle, settings: ServeSettings) -> Starlette:
    """Return the ASGI application. Its lifespan starts the workers and lets them finish at the end."""
    metrics = Metrics(bundle)
    predictor = Predictor(bundle, metrics, settings.workers, settings.max_waiting)
    endpoint = _Endpoint(bundle, settings, metrics, predictor)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        predictor.start()
        yield
        await asyncio.to_thread(predictor.close)

    routes = [
        Route("/v1/classify", endpoint.classify, methods=["POST"]),
        Route("/healthz", endpoint.health, methods=["GET"]),
        Route("/metrics", endpoint.expose, methods=["GET"]),
    ]
    paths = frozenset(route.path for route in routes)
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(_CountRequests, metrics=metrics, paths=paths)],
        exception_handlers={HTTPException: _answer_http_error, Exception: _answer_bug},
    )
    app.router.redirect_slashes = False  # a redirect is no JSON
    app.state.draining = False
    return app


class _RefusedError(Exception):
    """The request cannot be served; `message` tells the client why, and echoes nothing of it."""

    def __init__(self, status: HTTPStatus, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class _Endpoint:
    def __init__(self, bundle: Bundle, settings: ServeSettings, metrics: Metrics, predictor: Predictor) -> None:
        self._bundle = bundle
        self._settings = settings
        self._metrics = metrics
        self._predictor = predictor

    async def classify(self, request: Request) -> Response:
        """Answer the `top_k` most probable classes of the image that is the request's body."""
        try:
            top_k = self._read_top_k(request)
            probabilities = await self._predict(await self._read_body(request))
        except _RefusedError as refusal:
            self._metrics.reject(refusal.reason)
            return _answer_refusal(refusal)
        except ClientDisconnect:
            return _error(CLIENT_CLOSED_REQUEST, "the client closed the connection")
        return JSONResponse(_describe(self._bundle, probabilities, top_k))

    async def health(self, request: Request) -> Response:
        """200 while every worker runs and the server is not shutting down, else 503."""
        alive, expected = self._predictor.num_alive, self._settings.workers
        healthy = alive == expected and not request.app.state.draining
        status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        facts = {"healthy": healthy, "workers": alive, "workers_expected": expected}
        return JSONResponse({**facts, "model": self._bundle.digest}, status)

    async def expose(self, request: Request) -> Response:
        return Response(self._metrics.render(), headers={"content-type": CONTENT_TYPE})

    def _read_top_k(self, request: Request) -> int:
        num_classes = len(self._bundle.classes)
        text = request.query_params.get("top_k")
        if text is None:
            return min(DEFAULT_TOP_K, num_classes)
        longest = len(str(num_classes))  # int() of thousands of digits is an error of its own
        if not (text.isascii() and text.isdecimal() and len(text) <= longest and 1 <= int(text) <= num_classes):
            message = f"top_k: expected a whole number from 1 to {num_classes}, the number of classes"
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "bad_request", message)
        return int(text)

    async def _read_body(self, request: Request) -> bytes:
        limit = self._settings.max_body_bytes
        too_large = _RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"expected an image of at most {limit} bytes; send a smaller one",
        )
        if int(request.headers.get("content-length", "0")) > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:  # a chunked body names no length
                        raise too_large
        except TimeoutError:
            message = f"expected the whole body within {BODY_TIMEOUT_S:g} s; send it faster"
            raise _RefusedError(HTTPStatus.REQUEST_TIMEOUT, "timeout", message) from None
        return bytes(body)

    async def _predict(self, body: bytes) -> Floats:
        try:
            return await self._predictor.predict(body)
        except QueueFullError:
            message = f"{self._settings.max_waiting} images wait already; try again in a second"
            raise _RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "queue_full", message) from None
        except DataError as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "bad_image", str(error)) from None


class _CountRequests:
    """Counts every request and its status, whoever answers it; ends connections while the server drains."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        code = int(HTTPStatus.INTERNAL_SERVER_ERROR)  # what the server answers if nothing below does

        async def send_and_note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                if scope["app"].state.draining:
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        route = scope["path"] if scope["path"] in self._paths else "other"
        try:
            with self._metrics.in_flight.track_inprogress():
                await self._app(scope, receive, send_and_note)
        finally:
            self._metrics.requests.labels(route, str(code)).inc()


def _describe(bundle: Bundle, probabilities: Floats, top_k: int) -> dict[str, Any]:
    """`probabilities` (K,). A float32 becomes the float64 of equal value: JSON keeps every bit."""
    ranked = bundle.rank(probabilities, top_k)
    classes = [{"label": label, "probability": probability} for label, probability in ranked]
    return {"model": bundle.digest, "classes": classes}


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)


def _answer_refusal(refusal: _RefusedError) -> Response:
    # After 408 and 413 the rest of the body may still be on its way: the connection is of no more use.
    close = {"connection": "close"}
    headers = {"too_large": close, "timeout": close, "queue_full": {"retry-after": "1"}}
    return _error(refusal.status, refusal.message, headers.get(refusal.reason))


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail, dict(error.headers or {}))


async def _answer_bug(request: Request, error: Exception) -> Response:
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the server's log has the details")

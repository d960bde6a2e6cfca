"""How answers are written: JSON by orjson, every error as {"error": ...}."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from oodtune.serve.refusal import RefusedError

Handler = Callable[[Request], Awaitable[Response]]
"""Answers the requests of a route. May raise RefusedError."""


def json_answer(value: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


def error_answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return json_answer({"error": message}, status, headers)


def refusal_answer(refusal: RefusedError) -> Response:
    return error_answer(refusal.status, refusal.message, refusal.headers)


async def answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_answer(error.status_code, error.detail, error.headers)


async def answer_bug(request: Request, error: Exception) -> Response:
    return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the server's log has the details")

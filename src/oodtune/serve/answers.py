"""How answers are written: JSON by orjson, every error as {"error": ...}."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from oodtune.serve.refusal import RefusedError

Handler = Callable[[Request], Awaitable[Response]]
"""Answers the requests of a route. May raise RefusedError."""

JSON: Final = {"content-type": "application/json"}
BUG: Final = "internal error; the server's log has the details"
CLIENT_CLOSED_REQUEST: Final = 499
"""What logs and metrics call it, as nginx does: there is nobody to be told."""


@dataclass(frozen=True)
class Answer:
    """To a prediction, with status 200."""

    body: bytes
    headers: Mapping[str, str]


def json_answer(value: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


def error_body(message: str) -> bytes:
    return orjson.dumps({"error": message})


def error_answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(error_body(message), status, headers, media_type="application/json")


def refusal_answer(refusal: RefusedError) -> Response:
    return error_answer(refusal.status, refusal.message, refusal.headers)


async def answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_answer(error.status_code, error.detail, error.headers)


async def answer_bug(request: Request, error: Exception) -> Response:
    return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, BUG)

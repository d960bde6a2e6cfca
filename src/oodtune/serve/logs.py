"""Logs: one line of JSON each, on stderr. Never an image, a token, a query or a path that a client made up."""

import json
import logging
import random
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any, Final, TextIO

import orjson
from starlette.types import Scope

log = logging.getLogger("oodtune.serve")

_ids: Final = random.Random()  # noqa: S311  an id is no secret; one of the kernel costs a system call
_GIVEN_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class JsonFormatter(logging.Formatter):
    """A record as one line: time (UTC), level, logger, event, the fields of `log_event`, the traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if (request_id := _request_id.get()) is not None:
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except orjson.JSONEncodeError:  # half a character, a number over 64 bits: rare, and no reason to lose a line
            return json.dumps(line, default=str)


def configure_logging(stream: TextIO | None = None) -> None:
    """Send every logger of this process, uvicorn's too, and Python's warnings to `stream` (None: stderr) as JSON."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(True)


def log_event(event: str, level: int = logging.INFO, **fields: object) -> None:
    """Log that the server did something: start, ready, reload, drain. A field of None is left out."""
    if log.isEnabledFor(level):
        log.log(level, event, extra={"fields": {name: value for name, value in fields.items() if value is not None}})


def take_request_id(given: bytes) -> str:
    """Return the id that the client gave with X-Request-Id, if it is harmless, or a new one."""
    return given.decode("ascii") if _GIVEN_ID.fullmatch(given) else f"{_ids.getrandbits(64):016x}"


def log_task_as(request_id: str) -> None:
    """Whatever this task logs from now on carries the id."""
    _request_id.set(request_id)


@contextmanager
def logged_as(request_id: str) -> Iterator[None]:
    """Whatever is logged in the block carries the id."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def is_logged(status: int, log_all: bool) -> bool:
    """Tell whether to log an answered request: if it failed, or if `log_all`."""
    return log_all or status >= HTTPStatus.BAD_REQUEST


def log_request(scope: Scope, status: int, seconds: float, model_version: str | None) -> None:
    """Log an answered request; the scope has what its handler has noted of route and reason."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    client = scope.get("client")
    log_event(
        "request",
        _level(status),
        method=scope["method"],
        route=scope.get("oodtune.route", "other"),
        status=status,
        reason=scope.get("oodtune.reason"),
        seconds=round(seconds, 6),
        content_length=int(length) if length.isdigit() and len(length) < 20 else None,
        model_version=model_version,
        remote=client[0] if client else None,
    )


def _level(status: int) -> int:
    if status < HTTPStatus.BAD_REQUEST:
        return logging.INFO
    return logging.WARNING if status != HTTPStatus.INTERNAL_SERVER_ERROR else logging.ERROR

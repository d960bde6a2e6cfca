"""Why a request is not served: what the client is told, and what is counted."""

from http import HTTPStatus
from typing import Final, Literal

Reason = Literal[
    "bad_request", "bad_image", "too_large", "timeout", "not_found", "unauthorised", "overloaded", "not_ready"
]

STATUS: Final[dict[Reason, HTTPStatus]] = {
    "bad_request": HTTPStatus.BAD_REQUEST,
    "bad_image": HTTPStatus.BAD_REQUEST,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "timeout": HTTPStatus.REQUEST_TIMEOUT,  # the body came too slowly
    "not_found": HTTPStatus.NOT_FOUND,
    "unauthorised": HTTPStatus.UNAUTHORIZED,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "not_ready": HTTPStatus.SERVICE_UNAVAILABLE,
}
CLOSES: Final = frozenset({"too_large", "timeout"})
"""The rest of such a body may still be on its way: the connection is of no more use."""


class RefusedError(Exception):
    """The request cannot be served. `message` tells the client why, and echoes nothing of what it sent."""

    def __init__(self, reason: Reason, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.reason, self.message, self.retry_after_s = reason, message, retry_after_s

    @property
    def status(self) -> HTTPStatus:
        return STATUS[self.reason]

    @property
    def headers(self) -> dict[str, str]:
        headers = {"connection": "close"} if self.reason in CLOSES else {}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(self.retry_after_s)
        if self.reason == "unauthorised":
            headers["www-authenticate"] = "Bearer"
        return headers


def late() -> RefusedError:
    """Return the refusal of a request that no worker has begun with in time."""
    return RefusedError("overloaded", "no worker was free before the request's deadline; try again later", 1)

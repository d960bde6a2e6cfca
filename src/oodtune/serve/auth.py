"""Who may ask what: a bearer token in front of everything that is not explicitly public."""

import hmac
from typing import Final

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from oodtune.serve.answers import refusal_answer
from oodtune.serve.metrics import Metrics
from oodtune.serve.refusal import RefusedError

PUBLIC_PATHS: Final = frozenset(
    {
        *("/healthz", "/v2/health/live", "/v2/health/ready", "/metrics"),
        *("/", "/page.css", "/page.js", "/docs", "/openapi.json"),  # they hold no data: the page asks for a token
    }
)
"""The only paths that are answered without a token, compared whole: routes are exact, and so is this."""


class TokenCheck:
    """Knows the token. Built once, asked by every protocol."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token.get_secret_value().encode()

    def check(self, authorizations: list[bytes]) -> None:
        """Raise RefusedError unless these, the values of all Authorization headers, are one `Bearer TOKEN`."""
        scheme, _, credentials = authorizations[0].partition(b" ") if len(authorizations) == 1 else (b"", b"", b"")
        # Compared even if the scheme is wrong, and in a time that does not tell how much of it was right.
        if not hmac.compare_digest(credentials.strip(), self._token) or scheme.lower() != b"bearer":
            raise RefusedError("unauthorised", "expected the header 'Authorization: Bearer TOKEN' with a valid token")


class RequireToken:
    """ASGI middleware in front of every route, those that do not exist included: no path around it."""

    def __init__(self, app: ASGIApp, check: TokenCheck, metrics: Metrics) -> None:
        self._app = app
        self._check = check
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"] not in PUBLIC_PATHS:
            try:
                self._check.check([value for name, value in scope["headers"] if name == b"authorization"])
            except RefusedError as refusal:
                scope["oodtune.reason"] = refusal.reason
                self._metrics.reject(refusal.reason)
                await refusal_answer(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

"""Files that browsers ask for: read once, sent with the headers that keep a page to its own origin."""

import hashlib
from html import escape
from http import HTTPStatus
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from oodtune.serve.answers import Handler

if TYPE_CHECKING:
    from oodtune.serve.parts import Parts

PAGE_CSS: Final = "/page.css"
HTML: Final = "text/html; charset=utf-8"
_HEADERS: Final = {
    # 'unsafe-inline' nowhere: neither the page nor an image's name can bring code or styles of its own.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # ask each time; a file that did not change is answered with 304
}


class StaticFile:
    """The handler of a file's route."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self._content = content
        self._etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        self._headers = {**_HEADERS, "etag": self._etag, "content-type": media_type}

    async def __call__(self, request: Request) -> Response:
        """Answer the file, or 304 to a client that has it."""
        known = request.headers.get("if-none-match", "")
        if self._etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={**_HEADERS, "etag": self._etag})
        return Response(self._content, headers=self._headers)


def routes(parts: "Parts") -> list[tuple[str, str, Handler]]:
    """Return (method, path, handler) of the page and its files."""
    facts = {
        "model": parts.settings.name,
        "max_bytes": str(parts.settings.max_body_bytes),
        "max_size": _format_bytes(parts.settings.max_body_bytes),
    }
    page = Template(_read("index.html")).substitute({name: escape(text) for name, text in facts.items()})
    return [
        ("GET", "/", StaticFile(page.encode(), HTML)),
        ("GET", PAGE_CSS, StaticFile(_read("page.css").encode(), "text/css; charset=utf-8")),
        ("GET", "/page.js", StaticFile(_read("page.js").encode(), "text/javascript; charset=utf-8")),
    ]


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _format_bytes(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} KB"

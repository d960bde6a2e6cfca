"""The routes of the document and of its page, written anew when the model changes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson
from starlette.requests import Request
from starlette.responses import Response

from oodtune.serve.answers import Handler
from oodtune.serve.openapi.docs import render_docs
from oodtune.serve.openapi.document import ApiFacts, describe_api
from oodtune.serve.page import StaticFile
from oodtune.serve.page.files import HTML
from oodtune.serve.served_model import ServedModel
from oodtune.serve.settings import ServeSettings

if TYPE_CHECKING:
    from oodtune.serve.parts import Parts


def routes(parts: "Parts") -> list[tuple[str, str, Handler]]:
    """Return (method, path, handler). Handlers raise RefusedError while no model is there."""
    return [
        ("GET", "/openapi.json", _Written(parts, _write_json)),
        ("GET", "/docs", _Written(parts, _write_docs)),
    ]


class _Written:
    """The handler of a file about the model that is served now."""

    def __init__(self, parts: "Parts", write: Callable[[ApiFacts], StaticFile]) -> None:
        self._parts = parts
        self._write = write
        self._model: ServedModel | None = None

    async def __call__(self, request: Request) -> Response:
        model = self._parts.served.current
        if model is not self._model:
            self._file, self._model = self._write(_facts(self._parts.settings, model)), model
        return await self._file(request)


def _facts(settings: ServeSettings, model: ServedModel) -> ApiFacts:
    return ApiFacts(
        name=model.name,
        version=model.version,
        size=model.size,
        num_classes=len(model.bundle.classes),
        num_domains=len(model.bundle.domains.domains),
        max_images=settings.max_images,
        max_body_bytes=settings.max_body_bytes,
        has_token=settings.token is not None,
        has_metrics=settings.metrics_port is None,
    )


def _write_json(facts: ApiFacts) -> StaticFile:
    return StaticFile(orjson.dumps(describe_api(facts)), "application/json")


def _write_docs(facts: ApiFacts) -> StaticFile:
    return StaticFile(render_docs(describe_api(facts)).encode(), HTML)

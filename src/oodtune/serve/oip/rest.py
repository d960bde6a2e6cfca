"""The Open Inference Protocol over HTTP."""

import asyncio
import time
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from oodtune.bundle import Outputs, Pixels
from oodtune.serve.answers import Handler, json_answer
from oodtune.serve.engine import Load, Seen
from oodtune.serve.oip.inference import ENCODED, InferRequest, InputTensor, pick, prepare, timeout_s
from oodtune.serve.oip.json_answer import HEADER_LENGTH, Answer, compress, write_answer
from oodtune.serve.oip.json_request import read_request
from oodtune.serve.oip.metadata import model_config, model_metadata, server_metadata
from oodtune.serve.refusal import RefusedError, late
from oodtune.serve.served_model import ServedModel

if TYPE_CHECKING:
    from oodtune.serve.parts import Parts

SMALL_BYTES: Final = 16 * 1024
"""JSON up to this is read at once, so that a wrong request never waits; more of it is a worker's task."""
_MANY_VALUES: Final = 10_000
"""Answers of more logits are written in a thread of their own."""


def routes(parts: "Parts") -> list[tuple[str, str, Handler]]:
    """Return (method, path, handler) of every route of the protocol. Handlers raise RefusedError."""
    rest = Rest(parts)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/v2", rest.server),
        ("GET", "/v2/health/live", parts.health.live),
        ("GET", "/v2/health/ready", parts.health.ready),
    ]
    for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        table += [
            ("GET", model, rest.model),
            ("GET", f"{model}/ready", rest.model_ready),
            ("GET", f"{model}/config", rest.model_config),
            ("POST", f"{model}/infer", rest.infer),
        ]
    return table


class Rest:
    """The handlers."""

    def __init__(self, parts: "Parts") -> None:
        self._parts = parts

    async def server(self, request: Request) -> Response:
        return json_answer(server_metadata())

    async def model(self, request: Request) -> Response:
        return json_answer(model_metadata(self._find(request)))

    async def model_config(self, request: Request) -> Response:
        return json_answer(model_config(self._find(request)))

    async def model_ready(self, request: Request) -> Response:
        name, ready = self._find(request).name, self._parts.health.is_ready
        return json_answer({"name": name, "ready": ready}, 200 if ready else 503)

    async def infer(self, request: Request) -> Response:
        model = self._find(request)
        async with self._parts.bodies.read(request) as body:
            reading = _Reading(model, body, request.headers.get(HEADER_LENGTH), self._parts.settings.max_images)
            if reading.is_small:
                reading.prepare()
            outputs = await self._parts.engine.predict(model, reading.load, reading.timeout_s)

        def write() -> Answer:
            return _write(reading.request, model, outputs, request.headers.get("accept-encoding", ""))

        many = outputs.logits.size > _MANY_VALUES
        answer = await asyncio.to_thread(write) if many else write()
        return Response(answer.body, headers=answer.headers)

    def _find(self, request: Request) -> ServedModel:
        return self._parts.served.find(request.path_params["name"], request.path_params.get("version", ""))


def _write(request: InferRequest, model: ServedModel, outputs: Outputs, accept_encoding: str) -> Answer:
    return compress(write_answer(request, model, pick(request, model, outputs)), accept_encoding)


class _Reading:
    """A body on its way to pixels: read by who calls `prepare` first, the event loop or a worker."""

    def __init__(self, model: ServedModel, body: bytes, header_length: str | None, max_images: int) -> None:
        self._model = model
        self._max_images = max_images
        self._body = body
        self._header_bytes = _read_header_length(header_length, len(body))
        self._begun_s = time.perf_counter()
        self._load: Load | None = None
        self.timeout_s: float | None = None

    @property
    def is_small(self) -> bool:
        return self._header_bytes <= SMALL_BYTES

    def prepare(self) -> Load:
        """Read `request` and `timeout_s`. Raises RefusedError."""
        self.request = self._read()
        self.timeout_s = timeout_s(self.request)
        self._load = prepare(self.request, self._model, self._max_images)
        return self._load

    def load(self, model: ServedModel, seen: Seen) -> Pixels:
        """Return pixels (N, S, S, 3), on a worker. Raises RefusedError."""
        return (self._load or self._prepare_late())(model, seen)

    def _prepare_late(self) -> Load:
        load = self.prepare()
        if self.timeout_s is not None and time.perf_counter() - self._begun_s > self.timeout_s:
            raise late()
        return load

    def _read(self) -> InferRequest:
        name, version, size = self._model.name, self._model.version, self._header_bytes
        if size:  # what is JSON as a whole is not copied here: that would be half a megabyte at 224 px
            return read_request(name, version, self._body[:size], memoryview(self._body)[size:])
        # No JSON: the body is one file, and the answer is binary, too.
        file = InputTensor(ENCODED, "BYTES", (1,), [self._body])
        return InferRequest(name, version, "", (file,), parameters={"binary_data_output": True})


def _read_header_length(text: str | None, body_bytes: int) -> int:
    if text is None:
        return max(body_bytes, 1)  # all of it is JSON; an empty body is not, and said to be no JSON
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= body_bytes):
        message = f"Inference-Header-Content-Length: expected a whole number from 0 to {body_bytes}, the body's bytes"
        raise RefusedError("bad_request", message)
    return int(text)

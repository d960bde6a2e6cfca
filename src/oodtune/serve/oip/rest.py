"""The Open Inference Protocol over HTTP."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from oodtune.bundle import Outputs, Pixels
from oodtune.serve.answers import Answer, Handler, json_answer
from oodtune.serve.engine import Load, Seen
from oodtune.serve.oip.inference import ENCODED, InferRequest, InputTensor, pick, prepare, timeout_s
from oodtune.serve.oip.json_answer import HEADER_LENGTH, compress, write_answer
from oodtune.serve.oip.json_request import read_request
from oodtune.serve.oip.metadata import model_config, model_metadata, server_metadata
from oodtune.serve.prediction import Head, Open, Prediction
from oodtune.serve.refusal import RefusedError, late
from oodtune.serve.served_model import Served, ServedModel

if TYPE_CHECKING:
    from oodtune.serve.parts import Parts

MODELS: Final = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
SMALL_BYTES: Final = 16 * 1024
"""JSON up to this is read at once, so that a wrong request never waits; more of it is a worker's task."""
_HEADER_LENGTH: Final = HEADER_LENGTH.encode()
_MANY_VALUES: Final = 10_000
"""Answers of more logits are written in a thread of their own."""


def predictions(parts: "Parts") -> dict[str, Open]:
    """Return path -> what opens the requests for inference that are POSTed there."""
    infer = Infer(parts.served, parts.settings.max_images)
    return {f"{model}/infer": infer for model in MODELS}


def routes(parts: "Parts") -> list[tuple[str, str, Handler]]:
    """Return (method, path, handler) of every other route of the protocol. Handlers raise RefusedError."""
    rest = Rest(parts)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/v2", rest.server),
        ("GET", "/v2/health/live", parts.health.live),
        ("GET", "/v2/health/ready", parts.health.ready),
    ]
    for model in MODELS:
        table += [
            ("GET", model, rest.model),
            ("GET", f"{model}/ready", rest.model_ready),
            ("GET", f"{model}/config", rest.model_config),
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

    def _find(self, request: Request) -> ServedModel:
        return _find(self._parts.served, request.path_params)


class Infer:
    """Opens the requests for inference."""

    def __init__(self, served: Served, max_images: int) -> None:
        self._served = served
        self._max_images = max_images

    def __call__(self, head: Head) -> Prediction:
        """Raises RefusedError."""
        return _Inference(_find(self._served, head.path), head, self._max_images)


class _Inference(Prediction):
    """Read by who calls `_prepare` first, the event loop or a worker."""

    def __init__(self, model: ServedModel, head: Head, max_images: int) -> None:
        super().__init__(model)
        self._head = head
        self._max_images = max_images
        self._load: Load | None = None

    def read(self, body: bytes) -> None:
        self._begun_s = time.perf_counter()
        self._body = body
        self._header_bytes = _read_header_length(self._head.get(_HEADER_LENGTH), len(body))
        if self._header_bytes <= SMALL_BYTES:
            self._prepare()

    def load(self, model: ServedModel, seen: Seen) -> Pixels:
        return (self._load or self._prepare_late())(model, seen)

    def write(self, outputs: Outputs) -> Answer:
        answer = write_answer(self._request, self.model, pick(self._request, self.model, outputs))
        return compress(answer, self._head.get(b"accept-encoding") or "")

    def is_long(self, outputs: Outputs) -> bool:
        return outputs.logits.size > _MANY_VALUES

    def _prepare(self) -> Load:
        self._request = self._read_request()
        self.timeout_s = timeout_s(self._request)
        self._load = prepare(self._request, self.model, self._max_images)
        return self._load

    def _prepare_late(self) -> Load:
        load = self._prepare()
        if self.timeout_s is not None and time.perf_counter() - self._begun_s > self.timeout_s:
            raise late()
        return load

    def _read_request(self) -> InferRequest:
        name, version, size = self.model.name, self.model.version, self._header_bytes
        if size:  # what is JSON as a whole is not copied here: that would be half a megabyte at 224 px
            return read_request(name, version, self._body[:size], memoryview(self._body)[size:])
        # No JSON: the body is one file, and the answer is binary, too.
        file = InputTensor(ENCODED, "BYTES", (1,), [self._body])
        return InferRequest(name, version, "", (file,), parameters={"binary_data_output": True})


def _find(served: Served, path: Mapping[str, str]) -> ServedModel:
    return served.find(path["name"], path.get("version", ""))


def _read_header_length(text: str | None, body_bytes: int) -> int:
    if text is None:
        return max(body_bytes, 1)  # all of it is JSON; an empty body is not, and said to be no JSON
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= body_bytes):
        message = f"Inference-Header-Content-Length: expected a whole number from 0 to {body_bytes}, the body's bytes"
        raise RefusedError("bad_request", message)
    return int(text)

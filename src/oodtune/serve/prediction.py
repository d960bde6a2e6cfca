"""One request for a prediction, whatever carries it: opened by its head, read from its body, written as its answer."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from oodtune.bundle import Outputs, Pixels
from oodtune.serve.answers import Answer
from oodtune.serve.body import BodyReader
from oodtune.serve.engine import Engine, Seen
from oodtune.serve.served_model import ServedModel


class Head(NamedTuple):
    """What a request says before its body."""

    headers: Mapping[bytes, bytes]
    """Names in lower case; of several of one name, the first."""
    query: bytes = b""
    path: Mapping[str, str] = {}
    """The parameters of its route."""

    def get(self, name: bytes) -> str | None:
        """Return a header, or None."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


class Prediction(ABC):
    """What a route of predictions makes of one request."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        """Which answers it, whatever is served by then."""
        self.timeout_s: float | None = None
        """How long it may wait for a worker; None: as long as any. Known once it is read."""

    @abstractmethod
    def read(self, body: bytes) -> None:
        """Note the body, decompressed. Raises RefusedError."""

    @abstractmethod
    def load(self, model: ServedModel, seen: Seen) -> Pixels:
        """Return pixels (N, S, S, 3), N > 0, on a worker; see `engine.Load`. Raises RefusedError or DataError."""

    @abstractmethod
    def write(self, outputs: Outputs) -> Answer:
        """Return the answer of the N images' outputs."""

    def is_long(self, outputs: Outputs) -> bool:
        """Tell whether to write it takes so long that other requests would wait."""
        return False


Open = Callable[[Head], Prediction]
"""Begins with a request, before its body is there. Raises RefusedError."""


class PredictionHandler:
    """Answers the requests of a route through ASGI. `direct` does the same without it, for those that are plain."""

    def __init__(self, open_: Open, engine: Engine, bodies: BodyReader) -> None:
        self._open, self._engine, self._bodies = open_, engine, bodies

    async def __call__(self, request: Request) -> Response:
        """Raises RefusedError."""
        scope = request.scope
        headers = dict(reversed(scope["headers"]))
        prediction = self._open(Head(headers, scope["query_string"], scope["path_params"]))
        async with self._bodies.read(request) as body:
            prediction.read(body)
            outputs = await self._engine.predict(prediction.model, prediction.load, prediction.timeout_s)
        answer = await write(prediction, outputs)
        return Response(answer.body, headers=answer.headers)


async def write(prediction: Prediction, outputs: Outputs) -> Answer:
    """Return the answer; what takes long is written in a thread of its own."""
    if prediction.is_long(outputs):
        return await asyncio.to_thread(prediction.write, outputs)
    return prediction.write(outputs)

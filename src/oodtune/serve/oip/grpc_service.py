"""The Open Inference Protocol and the standard health service over gRPC: what answers each method."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import grpc

from oodtune import __version__
from oodtune.errors import DataError
from oodtune.serve.answers import BUG
from oodtune.serve.oip import protocol
from oodtune.serve.oip.grpc_inbox import Inbox
from oodtune.serve.oip.grpc_messages import (
    read_infer_request,
    read_message,
    write_infer_response,
    write_model_metadata,
)
from oodtune.serve.oip.inference import input_specs, output_specs, pick, prepare, timeout_s
from oodtune.serve.oip.metadata import SERVER_NAME
from oodtune.serve.refusal import Reason, RefusedError

if TYPE_CHECKING:
    from oodtune.serve.parts import Parts

log = logging.getLogger(__name__)

Answer = Callable[[Any, Any], Awaitable[Any]]
"""Answers a request message within a context. Raises RefusedError or DataError."""

Admit = Callable[[Any], None]
"""Raises RefusedError if a call may not be made, before its message is read."""

STATUS: Final[dict[Reason, grpc.StatusCode]] = {
    "bad_request": grpc.StatusCode.INVALID_ARGUMENT,
    "bad_image": grpc.StatusCode.INVALID_ARGUMENT,
    "too_large": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "timeout": grpc.StatusCode.DEADLINE_EXCEEDED,
    "not_found": grpc.StatusCode.NOT_FOUND,
    "unauthorised": grpc.StatusCode.UNAUTHENTICATED,
    "overloaded": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "not_ready": grpc.StatusCode.UNAVAILABLE,
}
EXTENSIONS: Final = ("classification",)
_EXTRA_FIELDS: Final = 512
"""Fields of a message beside one for every image."""


class InferenceService:
    """The answers of `inference.GRPCInferenceService` and `grpc.health.v1.Health`."""

    def __init__(self, parts: "Parts") -> None:
        self._parts = parts

    def answers(self) -> dict[str, dict[str, tuple[Answer, bool]]]:
        """Return service -> method -> what answers it, and whether it does so without a token."""
        inference: dict[str, tuple[Answer, bool]] = {
            "ServerLive": (self.server_live, True),
            "ServerReady": (self.server_ready, True),
            "ModelReady": (self.model_ready, False),
            "ServerMetadata": (self.server_metadata, False),
            "ModelMetadata": (self.model_metadata, False),
            "ModelInfer": (self.infer, False),
        }
        return {protocol.INFERENCE: inference, protocol.HEALTH: {"Check": (self.check_health, True)}}

    async def server_live(self, request: Any, context: Any) -> Any:
        return protocol.message("inference.ServerLiveResponse")(live=self._parts.health.is_live)

    async def server_ready(self, request: Any, context: Any) -> Any:
        return protocol.message("inference.ServerReadyResponse")(ready=self._parts.health.is_ready)

    async def model_ready(self, request: Any, context: Any) -> Any:
        """Raises RefusedError if there is no such model or version: not ready is another answer."""
        ready = self._parts.health.is_ready
        if self._parts.served.is_ready:
            self._parts.served.find(request.name, request.version)
        return protocol.message("inference.ModelReadyResponse")(ready=ready)

    async def server_metadata(self, request: Any, context: Any) -> Any:
        answer = protocol.message("inference.ServerMetadataResponse")
        return answer(name=SERVER_NAME, version=__version__, extensions=EXTENSIONS)

    async def model_metadata(self, request: Any, context: Any) -> Any:
        """Raises RefusedError if there is no such model or version."""
        model = self._parts.served.find(request.name, request.version)
        return write_model_metadata(model, input_specs(model), output_specs(model))

    async def infer(self, request: Any, context: Any) -> Any:
        """Raises RefusedError, or DataError if an image cannot be read."""
        asked = read_infer_request(request)
        model = self._parts.served.find(asked.model_name, asked.model_version)
        load = prepare(asked, model, self._parts.settings.max_images)
        limits = [limit for limit in (timeout_s(asked), context.time_remaining()) if limit is not None]
        outputs = await self._parts.engine.predict(model, load, min(limits, default=None))
        return write_infer_response(asked, model, pick(asked, model, outputs))

    async def check_health(self, request: Any, context: Any) -> Any:
        """Answer for the server ("") or the inference service. Raises RefusedError if it is another."""
        if request.service not in ("", protocol.INFERENCE):
            raise RefusedError("not_found", f"no such service; this server has only {protocol.INFERENCE}")
        status = "SERVING" if self._parts.health.is_ready else "NOT_SERVING"
        return protocol.message("grpc.health.v1.HealthCheckResponse")(status=status)


class Handler:
    """One method on the wire: reads the message, answers, counts; every failure is a precise status.

    It is a stream of requests for gRPC, though clients send one: only so do we choose when a message is read.
    """

    def __init__(
        self, parts: "Parts", inbox: Inbox, method: str, admit: Admit, answer: Answer, request_class: Any
    ) -> None:
        self._metrics = parts.metrics
        self._inbox = inbox
        self._route = f"grpc/{method}"
        self._admit = admit
        self._answer = answer
        self._request_class = request_class
        self._max_fields = _EXTRA_FIELDS + parts.settings.max_images

    async def __call__(self, requests: Any, context: Any) -> bytes:
        begun_s = self._metrics.begin_request()
        code = grpc.StatusCode.CANCELLED  # what remains if the client goes
        try:
            try:
                answer = await self._read_and_answer(context)
                code = grpc.StatusCode.OK
                return answer
            except Exception as error:  # noqa: BLE001  (whatever it is, the client gets a status)
                code, message, metadata = self._refuse(error)
            if _is_late(context):
                code = grpc.StatusCode.DEADLINE_EXCEEDED
            await context.abort(code, message, metadata)
            raise AssertionError("abort raises")
        except asyncio.CancelledError:
            if _is_late(context):
                code = grpc.StatusCode.DEADLINE_EXCEEDED
            raise
        finally:
            self._metrics.end_request(self._route, code.name, begun_s)

    async def _read_and_answer(self, context: Any) -> bytes:
        self._admit(context)
        async with self._inbox.read(context) as raw:
            request = read_message(raw, self._request_class, self._max_fields)
            answer = await self._answer(request, context)
        return bytes(answer.SerializeToString())

    def _refuse(self, error: Exception) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
        """Return the status, its message and the trailing metadata; the standard's name for Retry-After is there."""
        if isinstance(error, DataError):
            error = RefusedError("bad_image", str(error))
        if not isinstance(error, RefusedError):
            log.error("a gRPC call failed", exc_info=error)
            return grpc.StatusCode.INTERNAL, BUG, ()
        self._metrics.reject(error.reason)
        wait_s = error.retry_after_s
        metadata = () if wait_s is None else (("grpc-retry-pushback-ms", str(1000 * wait_s)),)
        return STATUS[error.reason], error.message, metadata


def _is_late(context: Any) -> bool:
    """Say whether the client's deadline has passed."""
    remaining_s = context.time_remaining()
    return remaining_s is not None and remaining_s <= 0

"""A gRPC server in the event loop of the HTTP server: its socket, its limits, who may call."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from oodtune.errors import UserError
from oodtune.serve.auth import TokenCheck
from oodtune.serve.oip import protocol
from oodtune.serve.oip.grpc_inbox import Inbox
from oodtune.serve.oip.grpc_service import Answer, Handler, InferenceService
from oodtune.serve.settings import ServeSettings

if TYPE_CHECKING:
    from oodtune.serve.parts import Parts

ENVELOPE_BYTES: Final = 4096
"""What a message may have beside its tensors."""
MAX_CALLS: Final = 1024
"""At one time, from all clients; each may hold a window of 64 KiB before its message is read."""
_IDENTITY_ONLY: Final = 1


class GrpcServer:
    """A server that answers calls; `port` is the one it got."""

    def __init__(self, server: grpc.aio.Server, port: int) -> None:
        self._server = server
        self.port = port

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, finish those in flight, and end those that take longer than `grace_s`."""
        await self._server.stop(grace_s)


async def start_grpc(parts: "Parts") -> GrpcServer:
    """Serve the Open Inference Protocol and the health service at `settings.grpc_port`.

    The engine must have been started in this event loop. Raises UserError if the address or a TLS file is not usable.
    """
    settings = parts.settings
    assert settings.grpc_port is not None
    max_bytes = settings.max_body_bytes + ENVELOPE_BYTES
    server = grpc.aio.server(options=_options(max_bytes), maximum_concurrent_rpcs=MAX_CALLS)
    inbox = Inbox(max_bytes, settings.max_buffered_bytes, settings.max_wait_s)
    for service, answers in InferenceService(parts).answers().items():
        server.add_generic_rpc_handlers((_handlers(parts, inbox, service, answers),))
    port = _listen(server, settings, settings.grpc_port)
    await server.start()
    return GrpcServer(server, port)


def _options(max_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_bytes),
        # gRPC limits a message before it decompresses it, not after.
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
        ("grpc.so_reuseport", 0),  # a second server on the same port is an error
    ]


def _handlers(
    parts: "Parts", inbox: Inbox, service: str, answers: dict[str, tuple[Answer, bool]]
) -> grpc.GenericRpcHandler:
    found = {}
    for method, (answer, is_open) in answers.items():
        admit = _admit_all if is_open else _admitter(parts.settings)
        request_class, _ = protocol.methods(service)[method]
        handler = Handler(parts, inbox, method, admit, answer, request_class)
        found[method] = grpc.stream_unary_rpc_method_handler(handler.__call__)
    return grpc.method_handlers_generic_handler(service, found)


def _admit_all(context: Any) -> None:
    pass


def _admitter(settings: ServeSettings) -> Callable[[Any], None]:
    """Return what raises RefusedError unless a call carries the token, where there is one."""
    if settings.token is None:
        return _admit_all
    token = TokenCheck(settings.token)

    def admit(context: Any) -> None:
        token.check([value.encode() for key, value in context.invocation_metadata() or () if key == "authorization"])

    return admit


def _listen(server: grpc.aio.Server, settings: ServeSettings, port: int) -> int:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{port}"
    credentials = _credentials(settings)
    try:
        if credentials is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, credentials))
    except RuntimeError:
        advice = "choose another host or grpc_port" + (", or check the files of TLS" if credentials else "")
        raise UserError(f"{address}: expected a free address of this machine for gRPC; {advice}") from None


def _credentials(settings: ServeSettings) -> grpc.ServerCredentials | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    pair = (_read(settings.tls_key), _read(settings.tls_certificate))
    authority = _read(settings.tls_client_authority) if settings.tls_client_authority else None
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: expected a PEM file ({error.strerror}); check the settings of TLS") from None

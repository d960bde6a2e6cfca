"""One process on one socket, from an open bundle to a drained shutdown."""

import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from oodtune.bundle import open_bundle
from oodtune.errors import UserError
from oodtune.serve.settings import ServeSettings

KEEP_ALIVE_S: Final = 75
"""Longer than proxies keep an idle connection: who closes first loses the other's request."""
DRAIN_S: Final = 30
"""Requests in flight have this long to finish after SIGTERM."""
BACKLOG: Final = 2048


def _print(line: str) -> None:
    print(line, flush=True)  # a container's stdout is buffered


def run_server(bundle_path: Path, settings: ServeSettings, announce: Callable[[str], None] = _print) -> None:
    """Serve a bundle until SIGTERM or SIGINT, then answer the requests in flight and return.

    `announce` is told the address once the socket listens. Raises UserError if the bundle, the provider, the
    address or an installed package is not what serving needs.
    """
    try:
        import uvicorn

        from oodtune.serve.app import create_app
        from oodtune.serve.drain import DrainingServer
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("oodtune"):
            raise
        advice = 'pip install "oodtune[serve]"'
        raise UserError(f"expected the packages of serving, found no {error.name}; {advice}") from None
    bundle = open_bundle(bundle_path, settings.provider, num_threads=1)
    app = create_app(bundle, settings)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    listener = _listen(settings.host, settings.port)
    _exit_zero_on_sigterm()
    announce(f"serving {bundle_path} at {_address(listener)}")
    try:
        DrainingServer(config, app).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises the signal again after it has drained
        return


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UserError(
            f"{host}:{port}: expected a free address of this machine ({error.strerror}); choose another host or port"
        ) from None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _exit_zero_on_sigterm() -> None:
    """uvicorn raises SIGTERM again after it has drained; a drained server has not failed."""

    def leave(signum: int, frame: FrameType | None) -> None:
        sys.exit(0)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, leave)

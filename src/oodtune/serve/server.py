"""One process on one socket, from the name of a bundle to a drained shutdown."""

import gc
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from oodtune.errors import ConfigError, UserError
from oodtune.serve.settings import ServeSettings

if TYPE_CHECKING:
    import uvicorn
    from prometheus_client import CollectorRegistry

    from oodtune.serve.parts import Parts
    from oodtune.serve.reload import Reloader

KEEP_ALIVE_S: Final = 75
"""Longer than proxies keep an idle connection: who closes first loses the other's request."""
BACKLOG: Final = 2048


def _print(line: str) -> None:
    print(line, flush=True)  # a container's stdout is buffered


def run_server(source: str | Path | None, settings: ServeSettings, announce: Callable[[str], None] = _print) -> None:
    """Serve what `source` names (see `find_source`) until SIGTERM or SIGINT, then answer what is in flight and return.

    The socket answers at once: live, but not ready before the bundle is loaded, proven and warm; then `announce` is
    told the address. SIGHUP looks for another version at once. Raises UserError if the source, the provider, the
    address or an installed package is not what serving needs.
    """
    _exit_zero_on_sigterm()
    try:
        from oodtune.serve.drain import DrainingServer
        from oodtune.serve.loading import load_model
        from oodtune.serve.logs import configure_logging, log_event
        from oodtune.serve.parts import create_parts
        from oodtune.serve.reload import Reloader
        from oodtune.serve.sources import find_source
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("oodtune"):
            raise
        advice = 'pip install "oodtune[serve]"'
        raise UserError(f"expected the packages of serving, found no {error.name}; {advice}") from None
    found = find_source(source, settings.endpoint_url)
    configure_logging()
    parts = create_parts(settings)
    config = _configure(parts)
    listener = _listen(settings.host, settings.port)
    address = _address(listener, "https" if config.is_ssl else "http")
    if settings.metrics_port is not None:
        address += f" with metrics at {_serve_metrics(settings.host, settings.metrics_port, parts.metrics.registry)}"
    reloader = Reloader(
        found,
        lambda path, version: load_model(path, version, settings),
        parts.served,
        lambda outcome: parts.metrics.reloads.labels(outcome).inc(),
        settings.reload_s if found.moves else None,
    )

    def ready() -> None:
        model = parts.served.current
        bundle = model.bundle
        gc.collect()
        gc.freeze()  # what is there now stays: a search for garbage in it would hold up requests for 50 ms
        log_event("ready", version=model.version, digest=bundle.digest, provider=bundle.provider, batch=model.max_batch)
        announce(f"serving {found} at {address}")

    _run(DrainingServer(config, parts), listener, reloader, ready)
    if parts.failures:
        raise parts.failures[0]


def _run(server: "uvicorn.Server", listener: socket.socket, reloader: "Reloader", ready: Callable[[], None]) -> None:
    from oodtune.serve.parts import DRAIN_S

    def fail() -> None:
        server.should_exit = True

    _call_on_sighup(reloader.ask)
    reloader.start(ready, fail)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises the signal again after it has drained
        return
    finally:
        reloader.stop(DRAIN_S)
    if reloader.error is not None:
        raise reloader.error


def _configure(parts: "Parts") -> "uvicorn.Config":
    import uvicorn

    from oodtune.serve.app import create_app, predictions
    from oodtune.serve.direct import DirectRoutes
    from oodtune.serve.parts import DRAIN_S
    from oodtune.serve.slow_clients import limited_protocol

    settings = parts.settings
    config = uvicorn.Config(
        create_app(parts),
        http=limited_protocol(parts.metrics.reject, direct_routes=DirectRoutes(parts, predictions(parts))),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        **_tls_options(settings),
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError, too
        raise ConfigError(
            f"{settings.tls_certificate}: expected PEM files of a certificate, its private key and, for mutual TLS, an "
            f"authority, found some that do not load ({error.strerror or error}); correct tls_certificate, tls_key "
            "and tls_client_authority"
        ) from None
    return config


def _tls_options(settings: ServeSettings) -> dict[str, Any]:
    if settings.tls_certificate is None:
        if settings.tls_key or settings.tls_client_authority:
            raise ConfigError(
                "expected tls_certificate beside tls_key or tls_client_authority, found none: nothing would be "
                "encrypted; set it, or unset them"
            )
        return {}
    options = {"ssl_certfile": settings.tls_certificate, "ssl_keyfile": settings.tls_key}
    if settings.tls_client_authority is None:
        return options
    return {**options, "ssl_ca_certs": str(settings.tls_client_authority), "ssl_cert_reqs": ssl.CERT_REQUIRED}


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise _taken(host, port, error) from None


def _serve_metrics(host: str, port: int, registry: "CollectorRegistry") -> str:
    """Answer /metrics on a port of its own, from a thread; return its address."""
    from prometheus_client import start_http_server

    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise _taken(host, port, error) from None
    return _address(server.socket)


def _taken(host: str, port: int, error: OSError) -> UserError:
    return UserError(
        f"{host}:{port}: expected a free address of this machine ({error.strerror}); choose another host or port"
    )


def _address(listener: socket.socket, scheme: str = "http") -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _exit_zero_on_sigterm() -> None:
    """uvicorn raises SIGTERM again after it has drained; a drained server has not failed."""

    def leave(signum: int, frame: FrameType | None) -> None:
        sys.exit(0)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, leave)


def _call_on_sighup(ask: Callable[[], None]) -> None:
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda signum, frame: ask())

"""A shutdown that answers everything that clients have already sent."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from typing import Final, cast

import uvicorn

from oodtune.serve.connection import Connection
from oodtune.serve.logs import log_event
from oodtune.serve.parts import Parts

LINGER_S: Final = 0.5
"""How long a request may be on its way on an open connection when the server stops."""

_STEPS: Final = 10
"""A process that was held up finds its time over before it has heard what came meanwhile: so it looks several times."""

FIRST_REQUEST_S: Final = 2.0
"""How much longer those may take whose connection is new and has not brought a request yet."""

GOODBYE_S: Final = 1.0
"""How long a connection that was closed may take to say so."""


class DrainingServer(uvicorn.Server):
    """Stops listening, then lingers: open connections get one more answer, which closes them.

    uvicorn alone resets connections that the kernel has accepted and it has not, and closes at once those
    without a request, also if the request is on its way. Under load, half of the clients lost one.
    """

    def __init__(self, config: uvicorn.Config, parts: Parts) -> None:
        super().__init__(config)
        self._parts = parts

    @property
    def _connections(self) -> Iterable[Connection]:
        return cast("Iterable[Connection]", self.server_state.connections)

    async def on_tick(self, counter: int) -> bool:
        return bool(self._parts.failures) or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._parts.health.draining = True
        if self._parts.served.is_ready:
            log_event("drain", in_flight=sum(not one.is_idle for one in self._connections))
        accepted = [connection for listener in sockets or [] for connection in _stop_listening(listener)]
        for server in self.servers:
            server.close()
        opened = [asyncio.ensure_future(self._open(connection)) for connection in accepted]
        for _ in range(_STEPS):
            await asyncio.sleep(LINGER_S / _STEPS)
        await self._await_first_requests()
        for one in opened:
            one.cancel()  # nobody waits for a handshake of TLS that has not come by now
        await asyncio.gather(*opened, return_exceptions=True)
        ending = asyncio.ensure_future(self._end_silent()) if self.config.is_ssl else None
        await super().shutdown(sockets)
        if ending is not None:
            ending.cancel()

    async def _await_first_requests(self) -> None:
        """Return when every open connection has brought a request, or has had its time."""
        ends_s = asyncio.get_running_loop().time() + FIRST_REQUEST_S
        while asyncio.get_running_loop().time() < ends_s:
            if all(one.cycle is not None for one in self._connections):
                return
            await asyncio.sleep(0.05)

    async def _end_silent(self) -> None:
        """End connections that only wait for a goodbye: TLS waits 30 s for it, and idle clients never say it."""
        while True:
            closing = [one.transport for one in self._connections if one.transport.is_closing()]
            await asyncio.sleep(GOODBYE_S)
            for transport in closing:
                transport.abort()

    async def _open(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(self._create_protocol, connection, ssl=self.config.ssl)

    def _create_protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _stop_listening(listener: socket.socket) -> list[socket.socket]:
    """Accept what waits and refuse what comes; no step between the two waits for anything."""
    accepted = []
    with contextlib.suppress(BlockingIOError):
        while True:
            accepted.append(listener.accept()[0])
    with contextlib.suppress(OSError):  # only Linux lets a listening socket be shut down before it is closed
        listener.shutdown(socket.SHUT_RDWR)
    return accepted

"""A connection to a server in this process, without a network between: what is sent, and what is answered."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from oodtune.serve import ServeSettings, app
from oodtune.serve.direct import DirectRoutes
from oodtune.serve.parts import create_parts
from oodtune.serve.slow_clients import limited_protocol
from tests.unit.serve.inside import BODY, Transport, served
from tests.unit.tiny_bundle import random_images

CLASSIFY = "/v1/classify"
INFER = "/v2/models/model/infer"
LENGTH = "Inference-Header-Content-Length"
PIXELS = random_images(2, seed=5)


def tensor(**changes):
    return {"name": "images", "datatype": "UINT8", "shape": list(PIXELS.shape), **changes}


def binary(header: dict, data: bytes = PIXELS.tobytes()) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(header).encode()
    return text + data, {LENGTH: str(len(text))}


BINARY = {"inputs": [tensor(parameters={"binary_data_size": PIXELS.nbytes})], "id": "7"}


def ask(path: str, body: bytes = BODY, headers: dict[str, str] | None = None, version: str = "1.1") -> bytes:
    fields = {"Host": "x", "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"POST {path} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


def chunked(path: str, body: bytes = BODY, headers: dict[str, str] | None = None) -> bytes:
    """The same in another form, which is not direct."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    return "\r\n".join([*lines, "\r\n"]).encode() + chunks


class Answers:
    """What a client reads, answer by answer."""

    def __init__(self, written: list[bytes]) -> None:
        self.all: list[tuple[int, dict[str, str], bytes]] = []
        parser = httptools.HttpResponseParser(self)
        self._status = parser.get_status_code
        for data in written:
            parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._body = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        assert name.decode() not in self._headers
        self._headers[name.decode()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.all.append((self._status(), self._headers, self._body))


class Client:
    """A connection to a server in this process, without a network between."""

    def __init__(self, config: Config, parts) -> None:
        self.parts = parts
        self.transport = Transport()
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        self.connection = config.http_protocol_class(config, state, {})
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    @property
    def is_direct(self) -> bool:
        return self.connection._direct is not None

    @property
    def answers(self) -> list[tuple[int, dict[str, str], bytes]]:
        return Answers(self.transport.written).all

    async def read(self, count: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
        async with asyncio.timeout(20):
            while len(self.answers) < count:
                await asyncio.sleep(0.001)
        return self.answers

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        known = len(self.answers)
        self.send(data)
        return (await self.read(known + 1))[-1]


@asynccontextmanager
async def serving(session=None, model=None, **changes) -> AsyncIterator:
    """Yield what connects a client."""
    parts = create_parts(ServeSettings(**{"workers": 1, **changes}))
    parts.served.replace(model or served(session))
    application = app.create_app(parts)
    routes = DirectRoutes(parts, app.predictions(parts))
    protocol = limited_protocol(parts.metrics.reject, direct_routes=routes)
    config = Config(application, http=protocol, lifespan="off", log_config=None, timeout_keep_alive=30)
    config.load()
    clients: list[Client] = []

    def connect() -> Client:
        clients.append(Client(config, parts))
        return clients[-1]

    async with application.router.lifespan_context(application):
        yield connect
        for client in clients:
            client.connection.connection_lost(None)


def sample(parts, line: str) -> str:
    """Return the value of a series in what Prometheus reads."""
    return next(one.rpartition(" ")[2] for one in parts.metrics.render().decode().splitlines() if one.startswith(line))

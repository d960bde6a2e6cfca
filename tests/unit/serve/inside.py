"""An application in this process, with a hand on its inside: a model that waits or breaks."""

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx

from oodtune.bundle import open_bundle
from oodtune.serve import ServeSettings, app
from oodtune.serve.parts import create_parts
from oodtune.serve.served_model import ServedModel
from tests.unit.tiny_bundle import encode, random_images, tiny_bundle

BODY = encode(random_images(1)[0])


class Gate:
    """A session that answers once it is opened."""

    def __init__(self, session):
        self.session, self.entered, self.opened = session, threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def run(self, names, feed):
        self.entered.set()
        assert self.opened.wait(20)
        self.sizes.append(len(feed["images"]))
        return self.session.run(names, feed)


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.is_read = True

    def write(self, data):
        self.written.append(bytes(data))

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        self.is_read = False

    def resume_reading(self):
        self.is_read = True


class Failing:
    def __init__(self, error):
        self.error = error

    def run(self, *arguments):
        raise self.error


def served(session=None, version="one", **changed) -> ServedModel:
    """Return the tiny model, with `session` in the place of its own."""
    bundle = open_bundle(tiny_bundle())
    bundle = replace(bundle, session=session or bundle.session)
    return ServedModel("model", version, bundle, **{"max_batch": 1, "image_s": 0.001, **changed})


@asynccontextmanager
async def serving(session=None, model: ServedModel | None = None, **settings):
    """Yield a client of the application, with its parts as `client.parts`."""
    parts = create_parts(ServeSettings(**settings))
    parts.served.replace(model or served(session))
    application = app.create_app(parts)
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        client.parts = parts
        yield client


async def ask(client: httpx.AsyncClient, count: int, waiting: int, bodies=None) -> list[asyncio.Task]:
    """Begin `count` requests and return once `waiting` are in the queue, which is when all have reached it."""
    bodies = bodies or [BODY] * count
    tasks = [asyncio.create_task(client.post("/v1/classify", content=body)) for body in bodies]
    async with asyncio.timeout(20):
        while client.parts.engine.num_waiting != waiting or client.parts.metrics.num_in_flight < count:
            await asyncio.sleep(0.01)
    return tasks

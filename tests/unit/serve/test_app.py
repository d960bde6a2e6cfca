"""Facts of the application that need a hand on its inside: a model that waits, breaks or ends its thread."""

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from oodtune.bundle import open_bundle
from oodtune.serve import ServeSettings, app, body
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
        while client.parts.engine.num_waiting != waiting or client.parts.metrics.in_flight._value.get() < count:
            await asyncio.sleep(0.01)
    return tasks


def test_what_would_wait_too_long_is_503_with_retry_after_and_what_waits_is_answered():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        # An image takes 0.5 s: four may always wait, and a fifth would wait two seconds.
        async with serving(model=served(gate, image_s=0.5), workers=1, max_wait_s=1.0) as client:
            accepted = await ask(client, 5, waiting=4)
            refused = await client.post("/v1/classify", content=BODY)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.json() == {"error": "4 requests wait already, about 2.0 s; try again later"}
            gate.opened.set()
            assert [(await task).status_code for task in accepted] == [200] * 5
            assert 'oodtune_rejected_total{reason="overloaded"} 1.0' in (await client.get("/metrics")).text

    asyncio.run(scenario())


def test_a_queue_of_quick_requests_may_be_long():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(model=served(gate, image_s=0.001), workers=1, max_wait_s=1.0) as client:
            accepted = await ask(client, 50, waiting=49)
            gate.opened.set()
            assert {(await task).status_code for task in accepted} == {200}

    asyncio.run(scenario())


def test_what_no_worker_has_begun_with_by_its_deadline_is_503_and_not_decoded():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(gate, workers=1, timeout_s=0.1) as client:
            first, *late = await ask(client, 3, waiting=2)
            await asyncio.sleep(0.1)
            gate.opened.set()
            assert (await first).status_code == 200
            for task in late:
                answer = await task
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert "before the request's deadline" in answer.json()["error"]
            assert "oodtune_inference_seconds_count 1.0" in (await client.get("/metrics")).text

    asyncio.run(scenario())


def test_what_waits_together_runs_together_and_every_client_gets_its_own_answer():
    async def scenario():
        session = open_bundle(tiny_bundle()).session
        gate = Gate(session)
        bodies = [encode(image) for image in random_images(9)]
        async with serving(model=served(gate, max_batch=4), workers=1) as client:
            tasks = await ask(client, 1, waiting=0, bodies=bodies[:1])
            await asyncio.to_thread(gate.entered.wait, 20)
            tasks += await ask(client, 8, waiting=8, bodies=bodies[1:])
            gate.opened.set()
            together = [(await task).json() for task in tasks]
            alone = [(await client.post("/v1/classify", content=body)).json() for body in bodies]
            assert together == alone
            assert gate.sizes[:3] == [1, 4, 4]

    asyncio.run(scenario())


def test_several_workers_share_what_waits():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(model=served(gate, max_batch=8), workers=2) as client:
            busy = await ask(client, 2, waiting=0)
            waiting = await ask(client, 4, waiting=4)
            gate.opened.set()
            assert {(await task).status_code for task in (*busy, *waiting)} == {200}
            assert max(gate.sizes) < 4

    asyncio.run(scenario())


def test_a_worker_that_may_wait_fills_its_batch():
    async def scenario():
        session = open_bundle(tiny_bundle()).session
        gate = Gate(session)
        gate.opened.set()
        async with serving(model=served(gate, max_batch=3), workers=1, batch_wait_s=1.0) as client:
            tasks = []
            for _ in range(3):
                tasks += await ask(client, 1, waiting=0)
            assert [(await task).status_code for task in tasks] == [200] * 3
            assert gate.sizes == [3]

    asyncio.run(scenario())


def test_an_image_that_is_none_fails_alone_in_its_batch():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(model=served(gate, max_batch=4), workers=1) as client:
            (first,) = await ask(client, 1, waiting=0)
            (bad,) = await ask(client, 1, waiting=1, bodies=[b"no image"])
            good = await ask(client, 2, waiting=3)
            gate.opened.set()
            assert [(await task).status_code for task in (first, bad, *good)] == [200, 400, 200, 200]

    asyncio.run(scenario())


def test_requests_end_with_the_version_that_they_began_with():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(model=served(gate, max_batch=8), workers=1) as client:
            old = await ask(client, 1, waiting=0)
            await asyncio.to_thread(gate.entered.wait, 20)
            old += await ask(client, 2, waiting=2)
            client.parts.served.replace(served(version="two", max_batch=8))
            new = await ask(client, 2, waiting=4)
            gate.opened.set()
            versions = [(await task).json()["model_version"] for task in (*old, *new)]
            assert versions == ["one", "one", "one", "two", "two"]
            assert 'version="two"' in (await client.get("/metrics")).text

    asyncio.run(scenario())


def test_without_a_model_requests_are_503_and_the_server_is_live_and_not_ready():
    async def scenario():
        parts = create_parts(ServeSettings(workers=1))
        application = app.create_app(parts)
        transport = httpx.ASGITransport(application)
        async with (
            application.router.lifespan_context(application),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            answers = [await client.get(path) for path in ("/v2/health/live", "/v2/health/ready", "/healthz")]
            assert [answer.status_code for answer in answers] == [200, 503, 503]
            answer = await client.post("/v1/classify", content=BODY)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")

    asyncio.run(scenario())


def test_bodies_that_are_held_at_one_time_are_bounded():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        limits = {"max_body_bytes": len(BODY) + 100, "max_buffered_bytes": 2 * len(BODY) + 100}
        async with serving(gate, workers=1, **limits) as client:
            held = await ask(client, 2, waiting=1)
            refused = await client.post("/v1/classify", content=BODY)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            gate.opened.set()
            assert [(await task).status_code for task in held] == [200, 200]
            assert (await client.post("/v1/classify", content=BODY)).status_code == 200

    asyncio.run(scenario())


def test_an_image_whose_client_has_gone_is_not_predicted():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(gate, workers=1) as client:
            running = asyncio.create_task(client.post("/v1/classify", content=BODY))
            await asyncio.to_thread(gate.entered.wait, 20)
            gone = asyncio.create_task(client.post("/v1/classify", content=BODY))
            await asyncio.sleep(0.1)
            gone.cancel()
            await asyncio.wait([gone])
            gate.opened.set()
            assert (await running).status_code == 200
            assert (await client.post("/v1/classify", content=BODY)).status_code == 200
            assert "oodtune_inference_seconds_count 2.0" in (await client.get("/metrics")).text

    asyncio.run(scenario())


def test_a_bug_is_500_without_details_and_its_worker_lives_on(caplog):
    async def scenario():
        async with serving(Failing(RuntimeError("secret")), workers=1) as client:
            for _ in range(2):
                answer = await client.post("/v1/classify", content=BODY)
                assert answer.status_code == 500
                assert answer.json() == {"error": "internal error; the server's log has the details"}
            assert (await client.get("/healthz")).status_code == 200
            assert 'oodtune_requests_total{code="500",route="/v1/classify"} 2.0' in (await client.get("/metrics")).text

    asyncio.run(scenario())
    assert "secret" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_worker_makes_the_server_unhealthy():
    async def scenario():
        async with serving(Failing(SystemExit()), workers=2) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.post("/v1/classify", content=BODY), 0.5)
            answer = await client.get("/healthz")
            assert answer.status_code == 503
            assert answer.json()["workers"] == 1

    asyncio.run(scenario())


def test_a_body_that_trickles_in_is_408(monkeypatch):
    monkeypatch.setattr(body, "BODY_TIMEOUT_S", 0.1)

    async def trickle():
        yield BODY[:10]
        await asyncio.sleep(20)

    async def scenario():
        async with serving(workers=1) as client:
            answer = await client.post("/v1/classify", content=trickle())
            assert answer.status_code == 408
            assert answer.json() == {"error": "expected the whole body within 0.1 s; send it faster"}

    asyncio.run(scenario())


def test_what_waits_when_the_server_stops_is_still_answered():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(gate, workers=1) as client:
            tasks = [asyncio.create_task(client.post("/v1/classify", content=BODY)) for _ in range(4)]
            await asyncio.to_thread(gate.entered.wait, 20)
            await asyncio.sleep(0.1)
            asyncio.get_running_loop().call_later(0.1, gate.opened.set)
        assert [(await task).status_code for task in tasks] == [200] * 4

    asyncio.run(scenario())


def test_a_draining_server_is_unhealthy_and_closes_connections_with_its_answers():
    async def scenario():
        async with serving(workers=1) as client:
            client.parts.health.draining = True
            assert (await client.get("/healthz")).status_code == 503
            answer = await client.post("/v1/classify", content=BODY)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")

    asyncio.run(scenario())

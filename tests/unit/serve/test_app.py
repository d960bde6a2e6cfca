"""Facts of the application that need a hand on its inside: a model that waits, breaks or ends its thread."""

import asyncio

import httpx
import pytest

from oodtune.bundle import open_bundle
from oodtune.serve import ServeSettings, app, body
from oodtune.serve.parts import create_parts
from tests.unit.serve.inside import BODY, Failing, Gate, ask, serving
from tests.unit.tiny_bundle import tiny_bundle


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

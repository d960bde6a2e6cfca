"""Facts of the queue and its workers, seen by clients of the application."""

import asyncio

import pytest

from oodtune.bundle import open_bundle
from oodtune.serve.engine import Engine
from tests.unit.serve.inside import BODY, Gate, ask, served, serving
from tests.unit.tiny_bundle import encode, random_images, tiny_bundle


def test_what_would_wait_too_long_is_503_with_retry_after_and_what_waits_is_answered():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        # An image takes 0.5 s: four may always wait, and a fifth would wait two seconds.
        async with serving(model=served(gate, image_s=0.5), workers=1, max_wait_s=1.0) as client:
            accepted = await ask(client, 1, waiting=0)
            assert await asyncio.to_thread(gate.entered.wait, 20)
            accepted += await ask(client, 4, waiting=4)
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


async def all_idle(engine: Engine) -> None:
    while engine._jobs.num_idle < engine.num_workers:
        await asyncio.sleep(0.001)


def test_a_request_that_finds_an_idle_worker_is_that_worker_s_alone():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(model=served(gate, max_batch=8), workers=2) as client:
            await all_idle(client.parts.engine)
            both = await ask(client, 2, waiting=0)
            gate.opened.set()
            assert {(await task).status_code for task in both} == {200}
            assert gate.sizes == [1, 1]

    asyncio.run(scenario())


def test_the_first_that_is_free_takes_its_share_of_what_waits_in_one_batch():
    async def scenario():
        session = open_bundle(tiny_bundle()).session
        last, first = Gate(session), Gate(session)
        async with serving(model=served(last), workers=2) as client:
            await all_idle(client.parts.engine)
            tasks = await ask(client, 1, waiting=0)
            assert await asyncio.to_thread(last.entered.wait, 20)
            client.parts.served.replace(served(first, version="two", max_batch=8))
            tasks += await ask(client, 1, waiting=0)
            assert await asyncio.to_thread(first.entered.wait, 20)
            tasks += await ask(client, 4, waiting=4)
            first.opened.set()
            assert [(await task).status_code for task in tasks[1:]] == [200] * 5
            last.opened.set()
            assert (await tasks[0]).status_code == 200
            assert first.sizes == [1, 3, 1]  # six are in the house, so each of two may have three

    asyncio.run(scenario())


@pytest.mark.parametrize(("before", "share"), [(4, 2), (2, 1)])
def test_while_another_is_busy_a_worker_waits_a_moment_for_its_share_of_as_many_as_there_were(before, share):
    async def scenario():
        session = open_bundle(tiny_bundle()).session
        busy, free = Gate(session), Gate(session)
        free.opened.set()
        async with serving(model=served(busy), workers=2) as client:
            engine = client.parts.engine
            await all_idle(engine)
            client.parts.served.replace(served(free, version="two", max_batch=8, image_s=1000.0))
            assert (await client.post("/v1/classify", content=BODY)).status_code == 200  # alone, none waits
            free.sizes.clear()
            client.parts.served.replace(served(busy, version="three"))
            tasks = await ask(client, 1, waiting=0)
            assert await asyncio.to_thread(busy.entered.wait, 20)
            client.parts.served.replace(served(free, version="four", max_batch=8, image_s=1000.0))
            engine._num_before = before
            for _ in range(share):
                tasks += await ask(client, 1, waiting=0)
            assert {(await task).status_code for task in tasks[1:]} == {200}
            busy.opened.set()
            assert (await tasks[0]).status_code == 200
            assert free.sizes == [share]

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

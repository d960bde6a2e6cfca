"""Facts of clients whose predictions are answered without ASGI: those that go, trickle, press on, or meet a bug."""

import asyncio
import json
import tracemalloc

import pytest

from oodtune.bundle import open_bundle
from oodtune.serve import direct
from oodtune.serve.connection import CALM_S
from oodtune.serve.oip import rest
from oodtune.serve.slow_clients import LimitedProtocol, limited_protocol
from tests.unit.serve.connected import BINARY, CLASSIFY, INFER, ask, binary, sample, serving
from tests.unit.serve.inside import BODY, Gate, served
from tests.unit.tiny_bundle import tiny_bundle


def test_a_token_is_asked_for():
    async def scenario():
        async with serving(token="secret") as connect:
            for headers, status in [({}, 401), ({"Authorization": "Bearer wrong"}, 401)]:
                client = connect()
                assert (await client.ask(ask(CLASSIFY, BODY, headers)))[0] == status
                assert not client.is_direct
            client = connect()
            assert (await client.ask(ask(CLASSIFY, BODY, {"Authorization": "Bearer secret"})))[0] == 200
            assert client.is_direct

    asyncio.run(scenario())


def test_a_server_without_a_model_yet_refuses():
    async def scenario():
        async with serving() as connect:
            client = connect()
            client.parts.served._current = None
            status, headers, _ = await client.ask(ask(CLASSIFY))
            assert (status, headers["retry-after"]) == (503, "2")

    asyncio.run(scenario())


def test_a_client_that_goes_is_not_computed_for_and_its_memory_is_free():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(gate) as connect:
            first, gone, later = connect(), connect(), connect()
            first.send(ask(CLASSIFY))
            assert await asyncio.to_thread(gate.entered.wait, 20)
            gone.send(ask(CLASSIFY))
            later.send(ask(CLASSIFY))
            gone.transport.close()
            gone.connection.connection_lost(None)
            assert first.parts.metrics.num_in_flight == 2
            gate.opened.set()
            await first.read()
            await later.read()
            assert gate.sizes == [1, 1]
            assert gone.transport.written == []
            assert float(sample(first.parts, 'oodtune_requests_total{code="499"')) == 1
            assert first.parts.bodies._free_bytes == first.parts.settings.max_buffered_bytes

    asyncio.run(scenario())


def test_a_body_that_trickles_in_is_refused_in_time_and_one_that_comes_is_not(monkeypatch):
    monkeypatch.setattr(direct, "BODY_TIMEOUT_S", 0.1)

    async def scenario():
        async with serving() as connect:
            slow, quick, data = connect(), connect(), ask(CLASSIFY)
            slow.send(data[:-2])
            quick.send(data[:-2])
            quick.send(data[-2:-1])
            await asyncio.sleep(0.05)
            slow.send(data[-2:-1])  # a sign of life is no body
            quick.send(data[-1:])
            status, headers, body = (await slow.read())[0]
            assert (status, headers["connection"], slow.transport.closed) == (408, "close", True)
            assert b"the whole body within" in body
            await asyncio.sleep(0.1)
            assert [one[0] for one in await quick.read()] == [200]
            assert float(sample(slow.parts, 'oodtune_rejected_total{reason="timeout"')) == 1

    asyncio.run(scenario())


def test_a_head_that_came_slowly_leaves_no_timer_for_its_body():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(gate) as connect:
            client, data = connect(), ask(CLASSIFY)
            client.connection.limits = type(client.connection.limits)(head_timeout_s=0.05)
            client.send(data[:10])
            client.send(data[10:])
            await asyncio.sleep(0.1)
            assert client.transport.written == []
            gate.opened.set()
            assert (await client.read())[0][0] == 200

    asyncio.run(scenario())


def test_a_body_for_which_there_is_no_room_is_refused_and_the_connection_lives_on():
    async def scenario():
        async with serving(max_body_bytes=10_000, max_buffered_bytes=10_000) as connect:
            holding, client = connect(), connect()
            holding.send(ask(CLASSIFY, bytes(5_000))[:-1])
            client.send(ask(CLASSIFY, bytes(6_000)))
            status, headers, _ = (await client.read())[0]
            assert (status, headers["retry-after"]) == (503, "1")
            assert not client.transport.is_read  # for a moment: it may ask again at once
            await asyncio.sleep(2 * CALM_S)
            assert client.transport.is_read
            assert (await client.ask(ask(CLASSIFY)))[0] == 200

    asyncio.run(scenario())


def test_what_would_wait_too_long_is_refused():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(gate, model=served(gate, image_s=10.0), max_wait_s=1.0) as connect:
            clients = [connect() for _ in range(6)]
            clients[0].send(ask(CLASSIFY))
            assert await asyncio.to_thread(gate.entered.wait, 20)
            for client in clients[1:]:
                client.send(ask(CLASSIFY))
            assert [one[0] for one in clients[-1].answers] == [503]
            gate.opened.set()
            for client in clients[:-1]:
                assert (await client.read())[0][0] == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("where", ["read", "write"])
def test_a_bug_is_500_says_nothing_to_the_client_and_is_logged_with_the_request(monkeypatch, lines, where):
    def fail(*arguments):
        raise ValueError("secret details")

    async def scenario():
        async with serving() as connect:
            client = connect()
            with monkeypatch.context() as patched:
                patched.setattr(rest._Inference, where, fail)
                sent, headers = binary(BINARY)
                status, _, body = await client.ask(ask(INFER, sent, {**headers, "X-Request-Id": "i"}))
            assert (status, json.loads(body)) == (500, {"error": "internal error; the server's log has the details"})
            assert (await client.ask(ask(INFER, *binary(BINARY))))[0] == 200

    asyncio.run(scenario())
    logged = lines()
    assert [line["request_id"] for line in logged] == ["i", "i"]
    assert "secret details" in logged[0]["traceback"]
    assert logged[1]["status"] == 500


def test_an_answer_that_takes_long_to_write_is_written_apart_and_is_the_same(monkeypatch):
    async def scenario():
        async with serving() as connect:
            client = connect()
            known = await client.ask(ask(INFER, *binary(BINARY)))
            monkeypatch.setattr(rest, "_MANY_VALUES", 0)
            client.send(ask(INFER, *binary(BINARY)))
            assert (await client.read(2))[1][::2] == known[::2]
            gone = connect()
            gone.send(ask(INFER, *binary(BINARY)))
            async with asyncio.timeout(20):
                while not gone.connection.tasks:
                    await asyncio.sleep(0)
            gone.transport.close()
            gone.connection.connection_lost(None)
            async with asyncio.timeout(20):
                while gone.connection.tasks:
                    await asyncio.sleep(0.001)
            assert gone.transport.written == []
            assert client.parts.metrics.num_in_flight == 0

    asyncio.run(scenario())


def test_a_draining_server_closes_with_its_answer():
    async def scenario():
        async with serving() as connect:
            client = connect()
            client.parts.health.draining = True
            status, headers, _ = await client.ask(ask(CLASSIFY))
            assert (status, headers["connection"], client.transport.closed) == (200, "close", True)

    asyncio.run(scenario())


def test_a_shutdown_lets_what_is_asked_be_answered_first():
    async def scenario():
        gate = Gate(open_bundle(tiny_bundle()).session)
        async with serving(gate) as connect:
            client = connect()
            client.send(ask(CLASSIFY))
            assert not client.connection.is_idle
            client.connection.shutdown()
            assert not client.transport.closed
            gate.opened.set()
            assert (await client.read())[0][0] == 200
            assert client.transport.closed

    asyncio.run(scenario())


def test_without_routes_nothing_is_direct():
    assert LimitedProtocol.routes is None
    assert limited_protocol(lambda reason: None).routes is None


def test_an_idle_connection_holds_nothing_of_what_it_has_asked():
    async def scenario():
        async with serving(max_body_bytes=2_000_000, max_buffered_bytes=20_000_000) as connect:
            clients = [connect() for _ in range(8)]
            tracemalloc.start()
            for client in clients:
                assert (await client.ask(ask(CLASSIFY, bytes(1_000_000))))[0] == 400
            held = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            assert held < 2_000_000

    asyncio.run(scenario())

"""Facts of what a connection writes and waits for, on a transport that keeps what is written."""

import asyncio
import math

import pytest
from starlette.responses import Response, StreamingResponse
from uvicorn import Config
from uvicorn.server import ServerState

from oodtune.serve.connection import CALM_S, Connection
from tests.unit.serve.inside import Transport

KEEP_ALIVE_S = 0.2
ASK = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"


async def connect(app, **changes) -> tuple[Connection, Transport]:
    config = Config(app, lifespan="off", timeout_keep_alive=KEEP_ALIVE_S, log_config=None, **changes)
    connection, transport = Connection(config, ServerState(), {}), Transport()
    connection.connection_made(transport)
    return connection, transport


async def settle(connection: Connection) -> None:
    async with asyncio.timeout(20):
        while connection.tasks:
            await asyncio.sleep(0)


async def hello(scope, receive, send) -> None:
    await receive()
    await Response(b"hello")(scope, receive, send)


async def refuse(scope, receive, send) -> None:
    await receive()
    await Response(b"later", 503, {"Retry-After": "1"})(scope, receive, send)


async def stream(scope, receive, send) -> None:
    async def parts():
        for part in (b"one", b"two"):
            yield part

    await StreamingResponse(parts())(scope, receive, send)


async def break_off(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    raise ValueError("a bug")


def written_for(request: bytes, app) -> tuple[list[bytes], bool]:
    async def scenario():
        connection, transport = await connect(app)
        connection.data_received(request)
        await settle(connection)
        connection.connection_lost(None)
        return transport.written, transport.closed

    return asyncio.run(scenario())


def test_an_answer_is_one_write():
    written, _ = written_for(ASK, hello)
    assert len(written) == 1
    assert written[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert written[0].endswith(b"\r\n\r\nhello")


def test_an_answer_in_parts_has_its_head_with_the_first():
    written, _ = written_for(ASK, stream)
    assert written[0].endswith(b"\r\n\r\n3\r\none\r\n")
    assert b"".join(written[1:]) == b"3\r\ntwo\r\n0\r\n\r\n"


def test_the_answer_to_head_is_its_head():
    written, _ = written_for(ASK.replace(b"POST", b"HEAD"), hello)
    assert len(written) == 1
    assert written[0].endswith(b"\r\n\r\n")
    assert b"content-length: 5\r\n" in written[0]


def test_a_client_that_waits_for_100_continue_gets_it_before_the_answer():
    async def scenario():
        connection, transport = await connect(hello)
        head, body = ASK.split(b"\r\n\r\n")
        connection.data_received(head + b"\r\nExpect: 100-continue\r\n\r\n")
        await asyncio.sleep(0.01)
        assert transport.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
        connection.data_received(body)
        await settle(connection)
        assert transport.written[1].endswith(b"\r\n\r\nhello")
        connection.connection_lost(None)

    asyncio.run(scenario())


def test_an_answer_that_breaks_off_after_its_head_is_sent_so_far_and_closed():
    written, closed = written_for(ASK, break_off)
    assert closed
    assert len(written) == 1
    assert written[0].startswith(b"HTTP/1.1 200 OK\r\n")


def test_pipelined_requests_are_answered_in_order():
    async def name(scope, receive, send):
        await Response(scope["path"])(scope, receive, send)

    written, _ = written_for(b"".join(ASK.replace(b"/ ", b"/%d " % place) for place in range(3)), name)
    assert [one[-2:] for one in written] == [b"/0", b"/1", b"/2"]


def test_an_idle_connection_is_closed_when_its_time_is_over_and_not_before_though_one_timer_serves_all_requests():
    async def scenario():
        connection, transport = await connect(hello)
        timers = set()
        for _ in range(4):
            connection.data_received(ASK)
            await settle(connection)
            timers.add(connection._timer)
            await asyncio.sleep(KEEP_ALIVE_S / 3)
        assert len(transport.written) == 4
        assert len(timers) < 4
        assert not transport.closed
        await asyncio.sleep(KEEP_ALIVE_S)
        assert transport.closed
        connection.connection_lost(None)

    asyncio.run(scenario())


def test_a_connection_that_is_lost_leaves_no_timer():
    async def scenario():
        connection, _ = await connect(hello)
        connection.data_received(ASK)
        await settle(connection)
        timer = connection._timer
        assert not timer.cancelled()
        connection.connection_lost(None)
        assert timer.cancelled()
        assert connection._timer_s == math.inf

    asyncio.run(scenario())


@pytest.mark.parametrize(("app", "is_read"), [(hello, True), (refuse, False)])
def test_a_client_that_was_refused_for_now_is_not_read_for_a_while(app, is_read: bool) -> None:
    async def scenario():
        connection, transport = await connect(app)
        connection.data_received(ASK)
        await settle(connection)
        assert len(transport.written) == 1, "the refusal itself is at once"
        assert transport.is_read is is_read
        await asyncio.sleep(2 * CALM_S)
        assert transport.is_read
        connection.data_received(ASK)
        await settle(connection)
        assert len(transport.written) == 2
        connection.connection_lost(None)

    asyncio.run(scenario())


def test_requests_sent_ahead_are_answered_after_a_refusal_too() -> None:
    async def scenario():
        connection, transport = await connect(refuse)
        connection.data_received(ASK + ASK)
        async with asyncio.timeout(20):
            while len(transport.written) < 2:
                await asyncio.sleep(0.01)
        connection.connection_lost(None)

    asyncio.run(scenario())


def test_a_client_that_goes_away_while_it_is_not_read_is_forgotten() -> None:
    async def scenario():
        connection, transport = await connect(refuse)
        connection.data_received(ASK)
        await settle(connection)
        transport.close()
        connection.connection_lost(None)
        await asyncio.sleep(2 * CALM_S)
        assert len(transport.written) == 1

    asyncio.run(scenario())

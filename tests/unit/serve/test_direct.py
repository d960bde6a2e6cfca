"""Facts of predictions that are answered without ASGI: as through it, whatever their client does."""

import asyncio
import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oodtune.bundle import open_bundle
from tests.unit.serve.connected import (
    BINARY,
    CLASSIFY,
    INFER,
    LENGTH,
    PIXELS,
    ask,
    binary,
    chunked,
    sample,
    serving,
    tensor,
)
from tests.unit.serve.inside import BODY
from tests.unit.tiny_bundle import SIZE, tiny_bundle

ASKED = {
    "image": (CLASSIFY, BODY, {}),
    "image, top 1": (f"{CLASSIFY}?top_k=1", BODY, {}),
    "image, two numbers": (f"{CLASSIFY}?top_k=1&top_k=2&x", BODY, {}),
    "image, no number": (f"{CLASSIFY}?top_k=", BODY, {}),
    "no image": (CLASSIFY, b"no image", {}),
    "nothing": (CLASSIFY, b"", {}),
    "a fresh connection each": (CLASSIFY, BODY, {"Connection": "close"}),
    "binary": (INFER, *binary(BINARY)),
    "binary, answered so": (INFER, *binary({**BINARY, "parameters": {"binary_data_output": True}})),
    "binary, too short": (INFER, *binary(BINARY, b"x")),
    "binary, too long": (INFER, *binary(BINARY, PIXELS.tobytes() + b"x")),
    "binary of no bytes": (INFER, *binary({"inputs": [tensor(parameters={"binary_data_size": 0})]}, b"")),
    "a file": (INFER, BODY, {LENGTH: "0"}),
    "JSON": (INFER, json.dumps({"inputs": [tensor(data=PIXELS.tolist())]}).encode(), {"Accept-Encoding": "gzip"}),
    "large JSON": (INFER, json.dumps({"inputs": [tensor(data=PIXELS.tolist())]}, indent=8).encode(), {}),
    "no JSON": (INFER, b"{", {}),
    "no length": (INFER, b"{}", {LENGTH: "-1"}),
    "a deadline": (INFER, *binary({**BINARY, "parameters": {"timeout": -1}})),
    "classes": (INFER, *binary({**BINARY, "outputs": [{"name": "logits", "parameters": {"classification": 2}}]})),
    "an id": (CLASSIFY, BODY, {"X-Request-Id": "my-id"}),
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_an_answer_is_the_one_that_asgi_gives(asked):
    async def scenario():
        async with serving() as connect:
            client, other = connect(), connect()
            status, headers, body = await client.ask(ask(*asked))
            assert client.is_direct == ("no number" not in asked[0] and not asked[0].endswith("top_k="))
            theirs = await other.ask(chunked(*asked))
            assert not other.is_direct
            given = headers.pop("x-request-id"), theirs[1].pop("x-request-id")
            assert (given[0] == given[1]) == ("X-Request-Id" in asked[2])
            assert (status, headers, body) == theirs
            assert client.transport.closed == other.transport.closed == ("Connection" in asked[2])
            return sample(client.parts, f'oodtune_requests_total{{code="{status}"'), client.parts

    counted, parts = asyncio.run(scenario())
    assert float(counted) == 2
    assert parts.metrics.num_in_flight == 0
    assert parts.bodies._free_bytes == parts.settings.max_buffered_bytes


NOT_DIRECT = {
    "another path": ask(INFER.replace("model/", "other/")),
    "a version's path": ask("/v2/models/model/versions/one/infer"),
    "HTTP/1.0": ask(CLASSIFY, version="1.0"),
    "compressed": ask(CLASSIFY, gzip.compress(BODY), {"Content-Encoding": "gzip"}),
    "a header twice": ask(CLASSIFY, BODY, {"X-Request-Id": "a", "x-request-id": "b"}),
    "too large": ask(CLASSIFY, b"", {"Content-Length": str(10**9)}),
    "no length": ask(CLASSIFY, b"").replace(b"Content-Length: 0\r\n", b""),
    "not posted": ask(CLASSIFY).replace(b"POST", b"PUT"),
    "an upgrade": ask(CLASSIFY, BODY, {"Connection": "upgrade", "Upgrade": "h2c"}),
    "waits for 100": ask(CLASSIFY, BODY, {"Expect": "100-continue"}),
    "a path in another spelling": ask("/v1/classif%79"),
}


@pytest.mark.parametrize("asked", NOT_DIRECT.values(), ids=NOT_DIRECT)
def test_what_is_odd_goes_through_asgi(asked):
    async def scenario():
        async with serving() as connect:
            client = connect()
            client.send(asked)
            assert not client.is_direct
            status = (await client.read())[-1][0]
            assert status in (200, 100, 400, 404, 405, 413)

    asyncio.run(scenario())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(ASKED)), min_size=1, max_size=4),
    st.lists(st.integers(1, 4000), max_size=12),
)
def test_it_does_not_matter_how_requests_are_cut_and_pipelined(names, cuts):
    asked = [ASKED[name] for name in names if name != "a fresh connection each"]
    data, at = b"".join(ask(*one) for one in asked), 0

    async def scenario():
        nonlocal at
        async with serving() as connect:
            client = connect()
            for size in cuts:
                client.send(data[at : at + size])
                at += size
                await asyncio.sleep(0)
            if data[at:]:
                client.send(data[at:])
            found = await client.read(len(asked)) if asked else []
            for one, (status, _, body) in zip(asked, found, strict=True):
                alone = await connect().ask(ask(*one))
                assert (status, body) == (alone[0], alone[2])

    asyncio.run(scenario())


def test_pixels_are_those_that_were_sent():
    async def scenario():
        async with serving() as connect:
            _, _, body = await connect().ask(ask(INFER, *binary(BINARY)))
            return json.loads(body)["outputs"][0]["data"]

    logits = np.array(asyncio.run(scenario()), np.float32).reshape(len(PIXELS), -1)
    np.testing.assert_array_equal(logits, open_bundle(tiny_bundle()).run(PIXELS).logits)
    assert PIXELS.shape == (2, SIZE, SIZE, 3)

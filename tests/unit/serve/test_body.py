"""Facts of reading bodies: decompression within the limits."""

import asyncio
import gzip
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from oodtune.serve.body import BodyReader
from oodtune.serve.refusal import RefusedError

LIMIT = 1_000_000


def request(chunks, encoding: str | None = None, **headers: str) -> Request:
    left = list(chunks)

    async def receive():
        return {"type": "http.request", "body": left.pop(0) if left else b"", "more_body": bool(left)}

    if encoding is not None:
        headers["content-encoding"] = encoding
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


def read(chunks, encoding=None, reader=None, **headers) -> bytes:
    async def scenario():
        async with (reader or BodyReader(LIMIT, LIMIT)).read(request(chunks, encoding, **headers)) as body:
            return body

    return asyncio.run(scenario())


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


COMPRESS = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes, " GZIP ": gzip.compress, None: bytes}


@pytest.mark.parametrize("encoding", COMPRESS)
@pytest.mark.parametrize("size", [1000, LIMIT])
def test_a_body_is_what_was_sent_before_its_content_encoding(encoding, size):
    noise = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
    for body in (b"", b"a", noise, bytes(LIMIT), noise + bytes(600_000)):
        assert read(cut(COMPRESS[encoding](body), size), encoding) == body


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 40), st.integers(1, 3000))
def test_decompression_is_the_inverse_however_chunks_fall(unit, size, times):
    body = (unit * times)[:LIMIT]
    assert read(cut(gzip.compress(body), size), "gzip") == body


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_413_and_takes_no_more_memory_than_the_limit(encoding):
    bomb = COMPRESS[encoding](bytes(50 * LIMIT))
    tracemalloc.start()
    with pytest.raises(RefusedError, match=f"at most {LIMIT} bytes, also after decompression") as refused:
        read([bomb], encoding)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.reason == "too_large"
    assert peak < 3 * LIMIT


def test_a_stream_that_decompresses_to_nothing_is_bounded_by_what_was_received():
    empty_blocks = zlib.compressobj()
    chunks = [empty_blocks.compress(b"") + empty_blocks.flush(zlib.Z_FULL_FLUSH) for _ in range(5)]
    chunks += [chunks[-1] * 1000] * 300
    with pytest.raises(RefusedError) as refused:
        read(chunks, "deflate")
    assert refused.value.reason == "too_large"


@pytest.mark.parametrize(
    "body",
    [
        b"no gzip",
        gzip.compress(b"abc")[:-1],
        b"",
        gzip.compress(b"a") + gzip.compress(b"b"),
        gzip.compress(b"a") + b"x",
    ],
    ids=["text", "truncated", "nothing", "two streams", "more behind it"],
)
def test_what_is_not_one_whole_stream_is_400(body):
    with pytest.raises(RefusedError, match="one whole stream") as refused:
        read([body], "gzip")
    assert refused.value.reason == "bad_request"


def test_unknown_encodings_are_refused_by_the_names_of_the_known():
    for encoding in ("br", "gzip, gzip", "zstd"):
        with pytest.raises(RefusedError, match="expected gzip, deflate or none"):
            read([b"x"], encoding)


def test_memory_of_all_bodies_is_given_back_whatever_became_of_them():
    reader = BodyReader(LIMIT, LIMIT)
    for body, encoding in [(bytes(LIMIT), None), (gzip.compress(bytes(2 * LIMIT)), "gzip"), (b"x", "gzip")] * 3:
        try:
            read([body], encoding, reader)
        except RefusedError as error:
            assert error.reason in ("too_large", "bad_request")
    assert read([bytes(LIMIT)], None, reader) == bytes(LIMIT)


def test_a_body_of_tiny_pieces_counts_as_what_it_takes():
    reader = BodyReader(LIMIT, LIMIT)
    with pytest.raises(RefusedError) as refused:  # 40,000 bytes, each an object of its own
        read([b"%d" % (place % 10) for place in range(40_000)], None, reader)
    assert refused.value.reason == "overloaded"
    assert read([bytes(LIMIT)], None, reader) == bytes(LIMIT)


def test_a_body_for_which_there_is_no_room_beside_others_is_503():
    async def scenario():
        reader = BodyReader(LIMIT, LIMIT)
        async with reader.read(request([bytes(LIMIT * 3 // 4)])):
            with pytest.raises(RefusedError) as refused:
                async with reader.read(request([gzip.compress(bytes(LIMIT * 3 // 4))], "gzip")):
                    pass
            assert refused.value.reason == "overloaded"

    asyncio.run(scenario())

"""Bodies of requests: read within limits of size, time and of what all of them together hold in memory."""

import asyncio
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from starlette.requests import ClientDisconnect, Request

from oodtune.serve.refusal import RefusedError

BODY_TIMEOUT_S: Final = 30.0
"""A body that trickles in longer than this is refused."""
WHOLE: Final = "oodtune.body_is_whole"
"""In a request's scope: its body has come, and reading it waits for nobody."""
_PIECE_BYTES: Final = 256 * 1024
"""Decompressed at once: other requests are heard after each."""
_SMALL_BYTES: Final = 512
_OBJECT_BYTES: Final = 48
"""What Python adds to a piece, and its place in a list."""
_WINDOWS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Content-Encoding -> what zlib calls it."""


class BodyReader:
    """Reads bodies of at most `max_bytes`, before and after decompression; all that are held at one time have at most
    `max_total_bytes`."""

    def __init__(self, max_bytes: int, max_total_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._free_bytes = max(max_bytes, max_total_bytes)

    def read(self, request: Request) -> "_Held":
        """Return a context that yields the body, decompressed; it counts as held until the block ends.

        Entering it raises RefusedError; ClientDisconnect if the client ends.
        """
        return _Held(self, request)

    async def fill(self, held: "_Held", request: Request) -> None:
        """Read the body of `request`, decompressed, into `held`. Raises RefusedError and ClientDisconnect."""
        headers = request.headers
        if int(headers.get("content-length", "0")) > self._max_bytes:
            raise self._too_large()
        decoder = _choose_decoder(headers.get("content-encoding", ""))
        if WHOLE in request.scope:
            await self._receive(held, request, decoder)
        else:
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    await self._receive(held, request, decoder)
            except TimeoutError:
                text = f"expected the whole body within {BODY_TIMEOUT_S:g} s; send it faster"
                raise RefusedError("timeout", text) from None
        decoder.end()

    async def _receive(self, held: "_Held", request: Request, decoder: "_Decoder") -> None:
        received, num_bytes, more = 0, 0, True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
            received += len(chunk)
            if received > self._max_bytes:  # a chunked body names no length
                raise self._too_large()
            for piece in decoder.feed(chunk):
                num_bytes += len(piece)
                if num_bytes > self._max_bytes:
                    raise self._too_large()
                held.num_bytes += self._take(piece)
                held.pieces.append(piece)
                if len(piece) == _PIECE_BYTES:
                    await asyncio.sleep(0)

    def give_back(self, num_bytes: int) -> None:
        """So many bytes are held no longer."""
        self._free_bytes += num_bytes

    def _take(self, piece: bytes) -> int:
        """Return what it costs to hold `piece`: of a body that trickles in, most is not what was sent."""
        num_bytes = len(piece) if len(piece) >= _SMALL_BYTES else _OBJECT_BYTES + len(piece)
        if num_bytes > self._free_bytes:
            raise RefusedError("overloaded", "too many large requests at once; try again in a second", 1)
        self._free_bytes -= num_bytes
        return num_bytes

    def _too_large(self) -> RefusedError:
        message = f"expected a body of at most {self._max_bytes} bytes, also after decompression; send a smaller one"
        return RefusedError("too_large", message)


class _Held:
    """A body in memory."""

    def __init__(self, bodies: BodyReader, request: Request) -> None:
        self._bodies, self._request = bodies, request
        self.pieces: list[bytes] = []
        self.num_bytes = 0
        """What they take, with what Python adds to small ones."""

    async def __aenter__(self) -> bytes:
        try:
            await self._bodies.fill(self, self._request)
        except BaseException:
            self._bodies.give_back(self.num_bytes)
            raise
        body = b"".join(self.pieces)  # which copies nothing if there is one
        self.pieces.clear()
        return body

    async def __aexit__(self, *_: object) -> None:
        self._bodies.give_back(self.num_bytes)


class _Decoder(Protocol):
    def feed(self, chunk: bytes) -> Iterator[bytes]: ...

    def end(self) -> None: ...


def _choose_decoder(encoding: str) -> _Decoder:
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return _Plain()
    if encoding not in _WINDOWS:
        raise RefusedError("bad_request", "Content-Encoding: expected gzip, deflate or none")
    return _Inflate(_WINDOWS[encoding])


class _Plain:
    def feed(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk

    def end(self) -> None:
        return


class _Inflate:
    """Decompresses one stream in pieces of bounded size."""

    def __init__(self, window: int) -> None:
        self._stream = zlib.decompressobj(window)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        rest, more = chunk, bool(chunk)
        while more:
            if self._stream.eof:  # a second stream could begin in every few bytes
                raise self._broken()
            try:
                piece = self._stream.decompress(rest, _PIECE_BYTES)
            except zlib.error:
                raise self._broken() from None
            rest = self._stream.unconsumed_tail or self._stream.unused_data
            # zlib may have taken all of the input, and hold output that had no room.
            more = bool(rest) or (len(piece) == _PIECE_BYTES and not self._stream.eof)
            if piece:
                yield piece

    def end(self) -> None:
        if not self._stream.eof:
            raise self._broken()

    def _broken(self) -> RefusedError:
        return RefusedError("bad_request", "expected a body of one whole stream of its Content-Encoding, found another")

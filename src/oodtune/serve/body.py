"""Bodies of requests: read within limits of size, time and of what all of them together hold in memory."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from starlette.requests import ClientDisconnect, Request

from oodtune.serve.refusal import RefusedError

BODY_TIMEOUT_S: Final = 30.0
"""A body that trickles in longer than this is refused."""
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

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body, decompressed; it counts as held until the block ends.

        Raises RefusedError; ClientDisconnect if the client ends.
        """
        held = self.hold()
        try:
            await self._fill(held, request)
            yield held.join()
        finally:
            held.release()

    def hold(self) -> "Held":
        """Return an empty body, for who receives its pieces himself."""
        return Held(self)

    def fits(self, num_bytes: int) -> bool:
        """Tell whether a body may be so long."""
        return num_bytes <= self._max_bytes

    async def _fill(self, held: "Held", request: Request) -> None:
        headers = request.headers
        if not self.fits(int(headers.get("content-length", "0"))):
            raise self._too_large()
        decoder = _choose_decoder(headers.get("content-encoding", ""))
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                await self._receive(held, request, decoder)
        except TimeoutError:
            raise slow_body() from None
        decoder.end()

    async def _receive(self, held: "Held", request: Request, decoder: "_Decoder") -> None:
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
                held.add(piece)
                if len(piece) == _PIECE_BYTES:
                    await asyncio.sleep(0)

    def take(self, num_bytes: int) -> None:
        """Count so many bytes as held. Raises RefusedError if there is no room for them."""
        if num_bytes > self._free_bytes:
            raise RefusedError("overloaded", "too many large requests at once; try again in a second", 1)
        self._free_bytes -= num_bytes

    def give_back(self, num_bytes: int) -> None:
        """So many bytes are held no longer."""
        self._free_bytes += num_bytes

    def _too_large(self) -> RefusedError:
        message = f"expected a body of at most {self._max_bytes} bytes, also after decompression; send a smaller one"
        return RefusedError("too_large", message)


class Held:
    """A body in memory, until it is released."""

    def __init__(self, bodies: BodyReader) -> None:
        self._bodies = bodies
        self._pieces: list[bytes] = []
        self._num_bytes = 0
        """What they take, with what Python adds to small ones: of a body that trickles in, that is most."""

    def add(self, piece: bytes) -> None:
        """Raises RefusedError if all bodies together take too much."""
        num_bytes = len(piece) if len(piece) >= _SMALL_BYTES else _OBJECT_BYTES + len(piece)
        self._bodies.take(num_bytes)
        self._num_bytes += num_bytes
        self._pieces.append(piece)

    def join(self) -> bytes:
        """Return the whole body. To be called once."""
        body = b"".join(self._pieces)  # which copies nothing if there is one
        self._pieces.clear()
        return body

    def release(self) -> None:
        """It is of no use any more."""
        self._bodies.give_back(self._num_bytes)
        self._num_bytes = 0
        self._pieces.clear()


class _Decoder(Protocol):
    def feed(self, chunk: bytes) -> Iterator[bytes]: ...

    def end(self) -> None: ...


def slow_body() -> RefusedError:
    """Return the refusal of a body that has not come in time."""
    return RefusedError("timeout", f"expected the whole body within {BODY_TIMEOUT_S:g} s; send it faster")


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

"""The body of a response: into a sink, in pieces, or as much of it as is worth reading."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Callable

import httpx
import trio

from connector.http.framing import Chunked, Framing, Length
from connector.http.inbox import BufferedReader
from connector.http.wire import Progress

ERROR_BODY_AT_MOST = 1 << 16
"""Bytes read of the body of an error: enough for every message, nothing for a flood."""

_ERROR_BODY_SECONDS = 10.0
_LINE_AT_MOST = 4096
_TRAILERS_AT_MOST = 64
_PIECE = 1 << 16


class BodyReader:
    """Takes one body off an inbox, whatever its framing."""

    def __init__(self, inbox: BufferedReader, framing: Framing, *, idle: float) -> None:
        self.framing = framing
        self.finished = framing == Length(0)
        self._inbox = inbox
        self._idle = idle
        self._left = framing.size if isinstance(framing, Length) else 0
        self._chunks = 0

    async def into(self, sink: memoryview, progress: Progress | None) -> int:
        """Receive the whole body into ``sink`` and return its size.

        Raises :class:`httpx.RemoteProtocolError` for a body that is too short, too long or badly framed.
        """
        position = 0
        while stretch := await self._stretch():
            if stretch > len(sink) - position:
                raise httpx.RemoteProtocolError(
                    f"{self._inbox.wire.peer} sent a body that is too long: more than the expected {len(sink)} bytes."
                )
            await self._inbox.exactly(sink[position : position + stretch], self._idle, progress)
            position += stretch
            self._left = 0
        self.finished = True
        return position

    async def within(self, sink: memoryview, skip: int, progress: Progress | None) -> int:
        """Fill ``sink`` from a body of known length after its first ``skip`` bytes; the rest stays where it is.

        Raises :class:`httpx.RemoteProtocolError` for a body that is too short.
        """
        self._left -= skip + len(sink)
        while skip:
            passed = sink[:skip]
            await self._inbox.exactly(passed, self._idle)
            skip -= len(passed)
        await self._inbox.exactly(sink, self._idle, progress)
        self.finished = not self._left
        return len(sink)

    async def some(self) -> bytes:
        """Give the next piece of the body, empty at its end. Raises :class:`httpx.RemoteProtocolError`."""
        stretch = await self._stretch()
        if not stretch:
            return b""
        piece = bytes(await self._inbox.some(min(stretch, _PIECE), self._idle))
        if not piece:
            if isinstance(self.framing, Length | Chunked):
                raise httpx.RemoteProtocolError(
                    f"{self._inbox.wire.peer} closed the connection before the end of a body."
                )
            self.finished = True
        if isinstance(self.framing, Length | Chunked):
            self._left -= len(piece)
        if isinstance(self.framing, Length):
            self.finished = not self._left
        return piece

    async def _stretch(self) -> int:
        """How many bytes of the body lie ahead without a frame between them; 0 at the end."""
        if self._left or self.finished:
            return self._left
        if isinstance(self.framing, Length):
            self.finished = True
        elif isinstance(self.framing, Chunked):
            self._left = await self._next_chunk()
            self.finished = not self._left
        else:
            return sys.maxsize
        return self._left

    async def _next_chunk(self) -> int:
        if self._chunks and await self._inbox.line(_LINE_AT_MOST, self._idle):
            raise httpx.RemoteProtocolError(f"{self._inbox.wire.peer} sent a chunk that is longer than announced.")
        self._chunks += 1
        line = await self._inbox.line(_LINE_AT_MOST, self._idle)
        found = re.match(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;|$)", line)
        if found is None:
            raise httpx.RemoteProtocolError(f"{self._inbox.wire.peer} sent a chunk without a size.")
        size = int(found[1], 16)
        if size == 0:
            for _ in range(_TRAILERS_AT_MOST):
                if not await self._inbox.line(_LINE_AT_MOST, self._idle):
                    return 0
            raise httpx.RemoteProtocolError(f"{self._inbox.wire.peer} sent endless trailers.")
        return size


async def read_error_body(reader: BodyReader) -> bytes:
    """Read what there is of an error's body, within bounds. Trouble ends it: the status says more than the rest."""
    collected = bytearray()
    with trio.move_on_after(_ERROR_BODY_SECONDS):
        try:
            while len(collected) < ERROR_BODY_AT_MOST and (piece := await reader.some()):
                collected += piece
        except httpx.TransportError:
            pass
    return bytes(collected[:ERROR_BODY_AT_MOST])


class ResponseStream(httpx.AsyncByteStream):
    """A body that its reader takes in pieces; the connection is his until it ends or is closed."""

    def __init__(self, reader: BodyReader, *, ends: float, peer: str, release: Callable[[bool], None]) -> None:
        self._reader = reader
        self._ends = ends
        self._peer = peer
        self._release = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while piece := await self._piece():
                yield piece
        except BaseException:
            self._release(False)
            raise
        self._release(True)

    async def aclose(self) -> None:
        """Give the connection back; a body that was not read to its end takes it along."""
        self._release(self._reader.finished)

    async def _piece(self) -> bytes:
        with trio.move_on_at(self._ends):
            return await self._reader.some()
        raise httpx.ReadTimeout(f"{self._peer} had not sent the whole answer when the time for it was over.")

"""A response: its head, and its body as far as it is read."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Callable

import httpx
import trio

from connector.http.connection import BufferedReader, ResponseHead
from connector.http.socket_stream import OnBytes

MAX_ERROR_BODY = 1 << 16
"""Bytes read of the body of an error: enough for every message, nothing for a flood."""

_ERROR_BODY_SECONDS = 10.0
_MAX_LINE = 4096
_MAX_TRAILERS = 64
_PIECE = 1 << 16


class Response(httpx.AsyncByteStream):
    """A response whose body is on its way. It is to be closed; `close` may be called twice.

    Args:
        method: Of the request.
        head: Status and header fields.
        reader: Where the body comes from.
        release: Told once, when the connection is free, whether another request may use it.
        sent: Bytes of the request's body that have arrived.

    Raises:
        httpx.RemoteProtocolError: The end of the body cannot be told (RFC 9112, section 6.3).
    """

    def __init__(
        self,
        method: str,
        head: ResponseHead,
        reader: BufferedReader,
        release: Callable[[bool], None],
        *,
        sent: int = 0,
    ) -> None:
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        self.sent = sent
        self._reader = reader
        self._release: Callable[[bool], None] | None = release
        self._keep_alive = head.keep_alive
        self._ends_with_connection = False
        self._more_chunks = False
        self._chunks = 0
        self._left = 0
        """Bytes of the body ahead, up to the next chunk header if there is one."""

        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if method == "HEAD" or head.status in (204, 304):
            pass
        elif coding is not None:  # h11 lets only "chunked" pass
            self._more_chunks = True
        elif length is None:
            self._ends_with_connection, self._left = True, sys.maxsize
        elif re.fullmatch(r"0*[0-9]{1,18}", length):
            self._left = int(length)
        else:
            raise httpx.RemoteProtocolError(f"{reader.peer} sent a Content-Length that is no number: {length[:40]!r}.")

    async def read_into(self, buffer: memoryview, on_bytes: OnBytes | None = None) -> int:
        """Receive the next bytes of the body straight into `buffer`.

        Returns:
            Their count: less than the buffer's only where the body ends.

        Raises:
            httpx.TransportError: The connection failed, or the body does not end as it should.
        """
        position = 0
        while position < len(buffer) and (available := await self._available()):
            count = min(available, len(buffer) - position)
            await self._reader.read_exactly(buffer[position : position + count], on_bytes)
            position += count
            self._left -= count
        return position

    async def read_some(self) -> bytes:
        """Return the next piece of the body, at most 64 KiB, empty at its end.

        Raises:
            httpx.TransportError: The connection failed, or the body does not end as it should.
        """
        available = await self._available()
        if not available:
            return b""
        piece = bytes(await self._reader.read_some(min(available, _PIECE)))
        if not piece and not self._ends_with_connection:
            raise httpx.RemoteProtocolError(f"{self._reader.peer} closed the connection before the end of a body.")
        self._left = available - len(piece) if piece else 0
        return piece

    async def read_error(self) -> bytes:
        """Read the body of an error, for 10 seconds and 64 KiB at most. A failure ends it: the status says enough."""
        collected = bytearray()
        with trio.move_on_after(_ERROR_BODY_SECONDS):
            try:
                while len(collected) < MAX_ERROR_BODY and (piece := await self.read_some()):
                    collected += piece
            except httpx.TransportError:
                pass
        return bytes(collected[:MAX_ERROR_BODY])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read_some():
            yield piece

    def close(self) -> None:
        """Release the connection; it is closed unless the body was read to its end."""
        release, self._release = self._release, None
        if release is not None:
            is_finished = not (self._left or self._more_chunks)
            release(is_finished and self._keep_alive and not self._ends_with_connection)

    async def aclose(self) -> None:
        """The same, for httpx."""
        self.close()

    async def _available(self) -> int:
        """How many bytes of the body lie ahead before the next chunk header; 0 at its end."""
        if not self._left and self._more_chunks:
            self._left = await self._next_chunk()
            self._more_chunks = self._left > 0
        return self._left

    async def _next_chunk(self) -> int:
        """Read a chunk header (RFC 9112, section 7.1) and return its size; after the last, of 0, read the trailers."""
        peer = self._reader.peer
        if self._chunks and await self._reader.read_line(_MAX_LINE):
            raise httpx.RemoteProtocolError(f"{peer} sent a chunk that is longer than announced.")
        self._chunks += 1
        found = re.match(rb"(0*[0-9A-Fa-f]{1,15})[ \t]*(?:;|$)", await self._reader.read_line(_MAX_LINE))
        if found is None:
            raise httpx.RemoteProtocolError(f"{peer} sent a chunk without a size.")
        size = int(found[1], 16)
        if size == 0:
            for _ in range(_MAX_TRAILERS):
                if not await self._reader.read_line(_MAX_LINE):
                    return 0
            raise httpx.RemoteProtocolError(f"{peer} sent trailers without end.")
        return size

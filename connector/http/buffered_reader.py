"""Reading from a connection when the end of the interesting bytes is not known beforehand."""

from __future__ import annotations

import httpx

from connector.http.socket_stream import OnBytes, SocketStream

_READ_AHEAD = 1 << 15
"""Bytes read ahead at most: enough for any head, little enough to copy."""

_READ_SIZE = 1 << 20
"""Bytes asked of the socket in one call: a bound on how long other tasks wait."""


class BufferedReader:
    """Reads a stream: bytes that were read beyond a boundary are kept, all others go straight into their place."""

    def __init__(self, stream: SocketStream) -> None:
        self.received = 0
        self._stream = stream
        self._read_ahead = memoryview(bytearray(_READ_AHEAD))
        self._kept = self._read_ahead[:0]

    @property
    def peer(self) -> str:
        """`host:port`, for messages."""
        return self._stream.peer

    @property
    def has_leftovers(self) -> bool:
        """Whether bytes were received that are part of no message."""
        return len(self._kept) > 0

    def unread(self, data: bytes) -> None:
        """Put back what a parser was given but did not need. It had taken everything before."""
        self._kept = memoryview(data)

    async def read_some(self, max_bytes: int, idle_timeout: float | None = None) -> memoryview:
        """Return the next bytes, at most `max_bytes`, empty at the end of the stream. Valid until the next call."""
        if not self._kept:
            count = await self._stream.recv_into(self._read_ahead, idle_timeout)
            self.received += count
            self._kept = self._read_ahead[:count]
        taken, self._kept = self._kept[:max_bytes], self._kept[max_bytes:]
        return taken

    async def read_exactly(self, view: memoryview, on_bytes: OnBytes | None = None) -> None:
        """Fill `view`, and report each step to `on_bytes`.

        Raises:
            httpx.RemoteProtocolError: The stream ended before.
        """
        position = min(len(view), len(self._kept))
        if position:
            view[:position], self._kept = self._kept[:position], self._kept[position:]
            if on_bytes is not None:
                on_bytes(position)
        while position < len(view):
            count = await self._stream.recv_into(view[position : position + _READ_SIZE])
            if not count:
                raise httpx.RemoteProtocolError(
                    f"{self.peer} closed the connection after {position} of {len(view)} bytes of a body."
                )
            self.received += count
            position += count
            if on_bytes is not None:
                on_bytes(count)

    async def read_line(self, max_bytes: int) -> bytes:
        """Read one line without its CRLF (a bare LF is accepted, as RFC 9112 section 2.2 allows).

        Raises:
            httpx.RemoteProtocolError: The line is longer than `max_bytes`, or the stream ended before its end.
        """
        line = b""
        while True:
            piece = bytes(await self.read_some(max_bytes + 2))
            if not piece:
                raise httpx.RemoteProtocolError(f"{self.peer} closed the connection within a chunk header.")
            head, newline, rest = piece.partition(b"\n")
            line += head
            if newline:
                self.unread(rest + bytes(self._kept))
                return line.removesuffix(b"\r")
            if len(line.removesuffix(b"\r")) > max_bytes:
                raise httpx.RemoteProtocolError(f"{self.peer} sent a line without end.")

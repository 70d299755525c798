"""Reading from a wire when it is not known beforehand where the interesting bytes end."""

from __future__ import annotations

import httpx

from connector.http.wire import Progress, SocketStream

_SCRATCH = 1 << 15
"""Bytes read ahead at most: enough for any head, little enough to copy."""

_READ_AT_ONCE = 1 << 20
"""Bytes asked of the socket in one call: a bound on how long other tasks wait."""


class BufferedReader:
    """What a wire has delivered: what was read beyond a boundary is kept, the rest goes straight to its place."""

    def __init__(self, wire: SocketStream) -> None:
        self.wire = wire
        self.received = 0
        self._scratch = memoryview(bytearray(_SCRATCH))
        self._kept = self._scratch[:0]

    @property
    def has_leftovers(self) -> bool:
        """Whether bytes were received that nobody has taken."""
        return len(self._kept) > 0

    def give_back(self, data: bytes) -> None:
        """Put back what a parser was given but did not need. It had taken everything before."""
        self._kept = memoryview(data)

    async def some(self, at_most: int, idle: float) -> memoryview:
        """Give the next bytes, at most ``at_most``, empty at the end of the stream. Valid until the next call."""
        if not self._kept:
            self._kept = self._scratch[: await self._recv(self._scratch, idle)]
        taken, self._kept = self._kept[:at_most], self._kept[at_most:]
        return taken

    async def exactly(self, view: memoryview, idle: float, progress: Progress | None = None) -> None:
        """Fill ``view``. Raises :class:`httpx.RemoteProtocolError` when the stream ends before."""
        position = min(len(view), len(self._kept))
        if position:
            view[:position], self._kept = self._kept[:position], self._kept[position:]
            if progress is not None:
                progress(position)
        while position < len(view):
            count = await self._recv(view[position : position + _READ_AT_ONCE], idle)
            if not count:
                raise httpx.RemoteProtocolError(
                    f"{self.wire.peer} closed the connection after {position} of {len(view)} bytes of a body."
                )
            position += count
            if progress is not None:
                progress(count)

    async def line(self, at_most: int, idle: float) -> bytes:
        """Read one line without its CRLF (a bare LF is accepted, as RFC 9112 section 2.2 allows).

        Raises :class:`httpx.RemoteProtocolError` when it is longer than ``at_most`` or the stream ends before.
        """
        line = b""
        while True:
            piece = bytes(await self.some(at_most + 2, idle))
            if not piece:
                raise httpx.RemoteProtocolError(f"{self.wire.peer} closed the connection within a chunk's frame.")
            head, newline, rest = piece.partition(b"\n")
            line += head
            if newline:
                self.give_back(rest + bytes(self._kept))
                return line.removesuffix(b"\r")
            if len(line.removesuffix(b"\r")) > at_most:
                raise httpx.RemoteProtocolError(f"{self.wire.peer} sent an endless line.")

    async def _recv(self, view: memoryview, idle: float) -> int:
        count = await self.wire.recv_into(view, idle)
        self.received += count
        return count

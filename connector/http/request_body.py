"""The body of a request: one buffer, or whatever httpx iterates over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import attrs
import httpx

from connector.http.wire import Progress, SocketStream

_PIECE = 1 << 16


class BufferStream(httpx.AsyncByteStream):
    """A request body that is one buffer. The bulk transport sends it from where it lies and sets its
    Content-Length; any other transport iterates over it in pieces of 64 KiB.

    The buffer must not change until the request is done.
    """

    def __init__(self, view: memoryview) -> None:
        self.view = view.cast("B")

    def __len__(self) -> int:
        return len(self.view)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.view), _PIECE):
            yield bytes(self.view[start : start + _PIECE])


class RequestBody(Protocol):
    """Something that can be sent after a request's head."""

    @property
    def size(self) -> int | None:
        """Bytes, or ``None`` if only the iteration will tell."""

    @property
    def replayable(self) -> bool:
        """Whether it can be sent a second time."""

    async def send(self, wire: SocketStream, *, idle: float, progress: Progress) -> None:
        """Send all of it."""


@attrs.frozen
class BufferBody:
    """A body in memory."""

    view: memoryview
    replayable: bool = True

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.view)

    async def send(self, wire: SocketStream, *, idle: float, progress: Progress) -> None:
        """Send the buffer from where it lies."""
        await wire.send_all(self.view, idle, progress)


@attrs.frozen
class IteratedBody:
    """A body that is produced while it is sent; ``announced`` is its Content-Length, ``None`` for chunked."""

    stream: httpx.AsyncByteStream
    announced: int | None
    replayable: bool = False

    @property
    def size(self) -> None:
        """Not known here: the head already says what there is to say."""

    async def send(self, wire: SocketStream, *, idle: float, progress: Progress) -> None:
        """Send the pieces as they come. Raises :class:`httpx.LocalProtocolError` if they miss the announced length."""
        sent = 0
        async for piece in self.stream:
            sent += len(piece)
            if self.announced is None:
                if piece:
                    await wire.send_all(memoryview(b"%x\r\n" % len(piece)), idle)
                    await wire.send_all(memoryview(piece), idle, progress)
                    await wire.send_all(memoryview(b"\r\n"), idle)
                continue
            if sent > self.announced:
                break
            await wire.send_all(memoryview(piece), idle, progress)
        if self.announced is None:
            await wire.send_all(memoryview(b"0\r\n\r\n"), idle)
        elif sent != self.announced:
            raise httpx.LocalProtocolError(f"The body of the request is not the announced {self.announced} bytes long.")


async def body_of(request: httpx.Request) -> RequestBody:
    """Find the best way to send the body of ``request``."""
    stream = request.stream
    # httpx wraps what is given as ``content=`` into an iterator of its own.
    inner = getattr(stream, "_stream", None)
    for candidate in (stream, inner):
        if isinstance(candidate, BufferStream):
            return BufferBody(candidate.view)
    if isinstance(stream, httpx.ByteStream):
        return BufferBody(memoryview(b"".join([piece async for piece in stream])))
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("The bulk transport needs a request body that can be iterated over asynchronously.")
    announced = request.headers.get("content-length")
    return IteratedBody(stream, None if announced is None else int(announced))

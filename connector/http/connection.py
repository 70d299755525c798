"""One connection: a request sent, the head of its response received, and a buffer for what follows it.

Heads are written and parsed by h11; bodies never pass through it.
"""

from __future__ import annotations

import math

import attrs
import h11
import httpx
import trio

from connector.http.routes import Route
from connector.http.socket_stream import OnBytes, SocketStream

_READ_AHEAD = 1 << 15
"""Bytes read ahead at most: enough for any head, little enough to copy."""

_READ_SIZE = 1 << 20
"""Bytes asked of the socket in one call: a bound on how long other tasks wait."""


class BufferedReader:
    """Reads a stream: bytes that were read beyond a boundary are kept, all others go straight into their place.

    `received` counts them, and `peer` names the other end in messages.
    """

    def __init__(self, stream: SocketStream) -> None:
        self.received = 0
        self.peer = stream.peer
        self._stream = stream
        self._read_ahead = memoryview(bytearray(_READ_AHEAD))
        self._kept = self._read_ahead[:0]

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


MAX_BODY_WITH_HEAD = 1 << 14
"""Bytes of a body that are sent together with the head."""

_EARLY_RESPONSE_GRACE = 2.0
"""Seconds that a server which stopped taking a body has for saying why."""

_MAX_HEAD = 1 << 16
_MAX_INTERIM_RESPONSES = 32


@attrs.frozen
class Request:
    """A request as it is sent: with all its header fields, `Host` and `Content-Length` included."""

    method: str
    target: bytes = attrs.field(repr=False)
    headers: list[tuple[bytes, bytes]] = attrs.field(repr=False)
    body: memoryview = attrs.field(default=memoryview(b""), repr=False)


@attrs.frozen
class ResponseHead:
    """Status line and header fields of a final response.

    `keep_alive`: whether the connection may serve another request after the body (RFC 9112, section 9.3).
    """

    status: int
    reason: bytes
    headers: httpx.Headers
    keep_alive: bool


@attrs.define(eq=False)
class _EarlyResponse:
    """What the server sent while it was still being sent a body."""

    head: ResponseHead | None = None
    error: httpx.TransportError | None = None
    received: trio.Event = attrs.field(factory=trio.Event)
    sending: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Connection:
    """A stream with its reader. `idle_since` is the pool's note, `requested` when the last request was begun, `sent`
    the bytes of its body that have arrived, and `responded` whether it was answered by anything at all."""

    def __init__(self, route: Route, stream: SocketStream) -> None:
        self.route = route
        self.stream = stream
        self.reader = BufferedReader(stream)
        self.idle_since = math.inf
        self.requested = -math.inf
        self.sent = 0
        self._received_before = 0

    @property
    def responded(self) -> bool:
        """Whether anything at all was received since the last request was sent."""
        return self.reader.received > self._received_before

    def is_idle(self) -> bool:
        """Whether the peer did nothing since the last response."""
        return not self.reader.has_leftovers and self.stream.is_idle()

    async def send_request(self, request: Request, on_bytes: OnBytes | None = None) -> ResponseHead:
        """Send a request and receive the head of the response, whose body can be read from the reader then.

        The task listens while it sends a large body: a response that does not wait for all of it ends the sending.

        Args:
            request: What is sent.
            on_bytes: Told how many bytes of the body have arrived: all of them when the response is a success.

        Raises:
            httpx.TransportError: The connection failed or timed out, or the server does not speak HTTP.
            httpx.LocalProtocolError: The request cannot be written down.
        """
        self._received_before, self.requested, self.sent = self.reader.received, trio.current_time(), 0

        def count(size: int) -> None:
            self.sent += size
            if on_bytes is not None:
                on_bytes(size)

        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        try:
            head = parser.send(h11.Request(method=request.method, target=request.target, headers=request.headers))
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(f"the request is malformed: {error}.") from error
        assert head is not None, "only a closed connection has no bytes to send"
        if len(request.body) <= MAX_BODY_WITH_HEAD:
            # The kernel takes it all at once, so there is no need to listen meanwhile.
            await self.stream.send_all(memoryview(head + request.body))
            if request.body:
                count(len(request.body))
            return await self._receive_head(parser)

        await self.stream.send_all(memoryview(head))
        early = _EarlyResponse()
        failure: Exception | None = None
        is_complete = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, parser, early)
            with early.sending:
                try:
                    await self.stream.send_all(request.body, count)
                    is_complete = True
                    await self.stream.wait_acknowledged(len(request.body) - self.sent, count)
                except Exception as error:  # the nursery would wrap it in a group
                    failure = error
            if isinstance(failure, httpx.WriteError):
                # A server that rejects a body says so and closes: its response may still be on the way.
                with trio.move_on_after(_EARLY_RESPONSE_GRACE):
                    await early.received.wait()
            nursery.cancel_scope.cancel()
        if failure is not None and not isinstance(failure, httpx.WriteError | httpx.WriteTimeout):
            raise failure  # raised by on_bytes, so the server's response does not explain it
        if early.head is not None:
            if early.head.status < 300 and is_complete and self.sent < len(request.body):
                count(len(request.body) - self.sent)  # the response says that they have arrived
            if early.head.status < 300 and not is_complete:
                raise httpx.RemoteProtocolError(
                    f"{self.stream.peer} answered {early.head.status} before it had the whole body."
                )
            return attrs.evolve(early.head, keep_alive=early.head.keep_alive and is_complete)
        if failure is not None:
            raise failure
        if early.error is not None:
            raise early.error
        return await self._receive_head(parser)

    async def _listen(self, parser: h11.Connection, early: _EarlyResponse) -> None:
        try:
            early.head = await self._receive_head(parser, idle_timeout=math.inf)
        except httpx.TransportError as error:
            early.error = error
        early.received.set()
        early.sending.cancel()

    async def _receive_head(self, parser: h11.Connection, idle_timeout: float | None = None) -> ResponseHead:
        """Receive up to the end of the final response's head. May be cancelled and called again: nothing is lost."""
        interim = 0
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as error:
                raise httpx.RemoteProtocolError(f"{self.stream.peer} does not speak HTTP/1.1: {error}.") from error
            if isinstance(event, h11.Response):
                self.reader.unread(parser.trailing_data[0])
                headers = httpx.Headers(event.headers.raw_items())
                options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
                keep_alive = event.http_version >= b"1.1" and "close" not in options
                return ResponseHead(event.status_code, bytes(event.reason), headers, keep_alive)
            if isinstance(event, h11.InformationalResponse):
                interim += 1
                if interim > _MAX_INTERIM_RESPONSES:
                    raise httpx.RemoteProtocolError(f"{self.stream.peer} sent interim responses without end.")
                continue
            data = await self.reader.read_some(_MAX_HEAD, idle_timeout)
            if not data:
                raise httpx.RemoteProtocolError(f"{self.stream.peer} closed the connection without a response.")
            parser.receive_data(bytes(data))

"""Hypercorn's connections, made fit for parts of gigabytes: larger reads, deadlines, and files sent by the kernel."""

from __future__ import annotations

import os
import select
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import Any, cast

import attrs
import h11
import trio
from h11._readers import ContentLengthReader
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, HTTPRequestEvent

from connector.archive.idle_watch import IdleWatch

ZERO_COPY_SEND = "http.response.zerocopysend"
"""The ASGI extension "Zero Copy Send": the server sends a file itself."""

_CAN_SEND_FILES = hasattr(os, "sendfile") and hasattr(select, "poll")
_READ_SIZE = 256 * 1024
_PIECE_SIZE = 512 * 1024
_SEND_SIZE = 16 * 1024**2
_POLL_MILLISECONDS = 20

Send = Callable[[Any], Awaitable[None]]
AppCall = Callable[..., Awaitable[None]]


class ClientGone(OSError):
    """The client hung up, or did not take data for too long, in the middle of an answer."""


@attrs.frozen
class _Span:
    """Stands for bytes of a file in h11's book-keeping, which asks for no more than their number."""

    size: int

    def __len__(self) -> int:
        return self.size


class BulkConnection(TCPServer):
    """One connection of a client.

    ``stall_timeout``: seconds without a byte after which a request that is on its way in, or a file on its way out,
    is given up. Between requests Hypercorn's ``keep_alive_timeout`` counts.
    """

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        state: ConnectionState,
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
        *,
        stall_timeout: float,
        senders: trio.CapacityLimiter,
    ) -> None:
        # Hypercorn's annotations know of encrypted streams only, and of no application but its own wrapper.
        super().__init__(cast(AppWrapper, self._call_app), config, context, state, cast(Any, stream))
        self._app = app
        self._stall_timeout = stall_timeout
        self._senders = senders
        self._head = b""
        self._idle_watch = IdleWatch(config.keep_alive_timeout, context.terminated)
        self.idle_task = cast(Any, self._idle_watch)

    async def _call_app(self, scope: Any, receive: Any, send: Send, *others: Any) -> None:
        if _CAN_SEND_FILES and scope["type"] == "http" and self._h11 is not None and self._socket is not None:
            scope["extensions"][ZERO_COPY_SEND] = {}
            send = partial(self._send, send)
        await self._app(scope, receive, send, *others)

    async def _send(self, send: Send, message: Any) -> None:
        if message is None or message["type"] != ZERO_COPY_SEND:
            return await send(message)
        await self._send_file(message["file"], message["offset"], message["count"])
        # The end of the message is Hypercorn's business again.
        await send({"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)})

    @property
    def _h11(self) -> h11.Connection | None:
        protocol = self.protocol.protocol
        connection = protocol.connection if isinstance(protocol, H11Protocol) else None
        return connection if isinstance(connection, h11.Connection) else None

    @property
    def _socket(self) -> trio.socket.SocketType | None:
        """The socket, if nothing lies between it and HTTP."""
        stream: object = self.stream
        return stream.socket if isinstance(stream, trio.SocketStream) else None

    async def _send_file(self, descriptor: int, offset: int, count: int) -> None:
        """Send ``count`` bytes of an open file as data of the response that was begun."""
        connection = self._h11
        assert connection is not None  # the extension is offered only where HTTP/1.1 is spoken
        pieces = connection.send_with_data_passthrough(h11.Data(data=_Span(count)))  # type: ignore[arg-type]
        try:
            async with self.send_lock:
                await self.stream.send_all(self._take_head())
                for piece in pieces or []:
                    if isinstance(piece, _Span):
                        await self._pump(descriptor, offset, count)
                    else:
                        await self.stream.send_all(piece)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            await self.stream.aclose()
            raise ClientGone(str(error)) from error

    async def _pump(self, descriptor: int, offset: int, count: int) -> None:
        socket = self._socket
        assert socket is not None
        # A descriptor of its own for the threads: were the connection closed under their hands, its number could
        # belong to another client's connection by the time they use it.
        descriptor_out = os.dup(socket.fileno())
        try:
            while count:
                # In a thread, because the file may have to be read from the disk first.
                sent = await trio.to_thread.run_sync(
                    _send_some, descriptor_out, descriptor, offset, count, limiter=self._senders
                )
                offset += sent
                count -= sent
                if count:
                    with trio.fail_after(self._stall_timeout):
                        await trio.lowlevel.wait_writable(socket)
        finally:
            os.close(descriptor_out)

    async def protocol_send(self, event: Event) -> None:
        """Send what Hypercorn has to send, the head of an answer together with the first piece of its body."""
        if isinstance(event, RawData):
            connection = self._h11
            if event.data.startswith(b"HTTP/1.1 ") and connection is not None and connection.our_state is h11.SEND_BODY:
                # A piece of a body that looks like a head is kept back too, which does no harm: order is kept.
                self._head += event.data
                return
            if not event.data and not self._head:
                return  # h11's way to say that nothing marks the end of this message
            event = RawData(self._take_head() + event.data)
        await super().protocol_send(event)

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        return head

    async def _read_data(self) -> None:
        try:
            while True:
                await self._take_body()
                # Only a client that owes us the rest of a request has to hurry.
                with trio.fail_after(self._stall_timeout if self._owed else inf):
                    data = await self.stream.receive_some(_READ_SIZE)
                await self.protocol.handle(RawData(bytes(data)))
                if not data:
                    break
        except (OSError, trio.ClosedResourceError, trio.BrokenResourceError, trio.TooSlowError):
            pass
        self._idle_watch.end()
        await self.protocol.handle(Closed())

    async def _idle_timeout(self) -> None:
        """Close the connection; the watch has waited already."""
        with trio.CancelScope(shield=True):
            await self._initiate_server_close()

    @property
    def _owed(self) -> bool:
        connection = self._h11
        return connection is not None and connection.their_state is h11.SEND_BODY

    async def _take_body(self) -> None:
        """Take the body of a large upload off the socket in large pieces, all but its last bytes.

        h11 would copy each byte three times. It keeps its book all the same: its count of missing bytes is set, and
        the last ones go through it, so that it notices the end itself.
        """
        connection = self._h11
        reader = getattr(connection, "_reader", None)
        stream = getattr(self.protocol.protocol, "stream", None)
        if not self._owed or not isinstance(reader, ContentLengthReader) or not isinstance(stream, HTTPStream):
            return
        socket = self._socket
        if socket is None:
            return
        while reader._remaining > _PIECE_SIZE and not stream.closed:
            piece = memoryview(bytearray(min(_PIECE_SIZE, reader._remaining - 1)))
            filled = 0
            while filled < len(piece):
                with trio.fail_after(self._stall_timeout):
                    count = await socket.recv_into(piece[filled:])
                if not count:
                    raise ConnectionResetError("the client hung up in the middle of a body")
                filled += count
            reader._remaining -= filled
            message = {"type": "http.request", "body": piece, "more_body": True}
            await stream.app_put(cast(HTTPRequestEvent, message))


def _send_some(socket: int, descriptor: int, offset: int, count: int) -> int:
    """Send as much as the client takes without making this thread wait for long; returns the bytes sent."""
    poll = select.poll()
    poll.register(socket, select.POLLOUT)
    done = 0
    goal = min(count, _SEND_SIZE)
    while done < goal:
        try:
            sent = os.sendfile(socket, descriptor, offset + done, goal - done)
        except BlockingIOError:
            if not poll.poll(_POLL_MILLISECONDS):
                break
            continue
        if sent == 0:
            raise OSError("the file is shorter than was said")
        done += sent
    return done

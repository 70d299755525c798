"""The transport: one request in, one response out, over pooled connections."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import trio

from connector.http.connection import Answer, Connection
from connector.http.deadlines import Phase
from connector.http.dial import dial
from connector.http.framing import SINKABLE, Length, UntilClose, check_sinkable, framing_of
from connector.http.heads import ResponseHead
from connector.http.order import RequestContext
from connector.http.pool import Pool, PooledSlot
from connector.http.response_body import BodyReader, ResponseStream, read_error_body
from connector.http.tls import make_ssl_context
from connector.http.wire import IdleState

_STALE = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class BulkTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 for large bodies, on trio. Redirects are handed to the caller as they are, never followed here.

    Request extensions that it understands, beside httpx's ``timeout`` and ``sni_hostname``:

    ``sink``
        A writable buffer. The body of a 200 or 206 is received straight into it; the response then has an empty
        body and ``response.extensions["received"]``, the count of bytes. Whatever does not fit the request's
        ``Range``, the length announced or the sink is an :class:`httpx.RemoteProtocolError`.
    ``whole``
        Bytes of the whole object, which is then taken too, in answer to a ``Range`` that the server ignores: what lies
        before is passed over, what follows ends the connection.
    ``on_bytes``
        Called with every count of body bytes that moved. A negative count takes back what an attempt on a stale
        connection had moved before it was repeated on a fresh one.
    ``deadline_seconds``
        Time for the request as a whole, from the call to the last byte of the answer.

    The body of an answer of 300 and above (and of any other that is not meant for the sink) is read at once, the
    first 64 KiB of it. Errors are httpx's; their messages name host and port, never a path or query.

    :param ssl_context: what TLS trusts; by default a context is made at the first TLS connection.
    :param ca_file: certificates (PEM) that this context trusts instead of the system's.
    :param max_connections: bound on connections over all hosts, in use and idle together.
    :param keepalive_expiry: seconds after which an idle connection is not used again.
    :param may_connect: asked about the IP address of each new connection before a byte is sent over it.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        ca_file: Path | None = None,
        max_connections: int = 64,
        keepalive_expiry: float = 15.0,
        may_connect: Callable[[str], bool] | None = None,
    ) -> None:
        self._ssl_context = ssl_context
        self._ca_file = ca_file
        self._pool = Pool(max_connections, keepalive_expiry)
        self._may_connect = may_connect

    @property
    def pool(self) -> Pool:
        """The connections, for those who want to count them."""
        return self._pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` and give its response. Raises :class:`httpx.TransportError` in all its kinds."""
        order = await RequestContext.of(request)
        if order.ends == math.inf:
            return await self._handle(order)
        with trio.move_on_at(order.ends):
            return await self._handle(order)
        raise order.overdue()

    async def aclose(self) -> None:
        """Close the idle connections; those in use close when their requests end."""
        self._pool.close()

    async def _handle(self, order: RequestContext) -> httpx.Response:
        slot = await self._pool.admit(order.deadlines.pool)
        try:
            return await self._respond(order, slot, await self._ask(order, slot))
        except BaseException:
            slot.end(reusable=False)
            raise

    async def _ask(self, order: RequestContext, slot: PooledSlot) -> Answer:
        kept = self._pool.take_idle(order.origin)
        if kept is not None:
            slot.connection = kept
            try:
                return await kept.ask(order)
            except _STALE:
                if kept.answered or not order.replayable:
                    raise
                # The server had closed it meanwhile, which is its right (RFC 9112, section 9.6).
                kept.close()
                order.rewind()
        slot.connection = await self._connect(order)
        return await slot.connection.ask(order)

    async def _connect(self, order: RequestContext) -> Connection:
        self._pool.make_room()
        order.phase = Phase.CONNECT
        limit = order.deadlines.connect
        with trio.move_on_after(limit):
            return Connection(
                order.origin,
                await dial(order.origin, ssl_context=self._trusted, may_connect=self._may_connect),
            )
        raise httpx.ConnectTimeout(f"No connection to {order.origin.peer} within {limit:g} seconds.")

    async def _respond(self, order: RequestContext, slot: PooledSlot, answer: Answer) -> httpx.Response:
        connection = slot.connection
        assert connection is not None
        order.phase = Phase.READ
        head = answer.head
        framing = framing_of(order.request.method, head.status, head.headers)
        reader = BodyReader(connection.inbox, framing, idle=order.deadlines.read)
        extensions: dict[str, Any] = {"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason}

        stays = answer.request_complete and head.keeps_alive and _asks_to_stay(order)

        def release(finished: bool) -> None:
            slot.end(stays and finished and not isinstance(framing, UntilClose))

        stream: httpx.AsyncByteStream
        if order.sink is not None and head.status in SINKABLE:
            extensions["received"] = await _receive(order, head, reader)
            seen = connection.glance()
            if seen is IdleState.TALKING and reader.finished:
                raise httpx.RemoteProtocolError(
                    f"{order.origin.peer} sent a body that is too long: more bytes followed its end."
                )
            stream = httpx.ByteStream(b"")
            release(seen is IdleState.QUIET and reader.finished)
        elif order.sink is not None or head.status >= 300:
            stream = httpx.ByteStream(await read_error_body(reader))
            release(reader.finished)
        else:
            stream = ResponseStream(reader, ends=order.ends, peer=order.origin.peer, release=release)
            if framing == Length(0):
                await stream.aclose()
        return httpx.Response(head.status, headers=head.headers, stream=stream, extensions=extensions)

    def _trusted(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = make_ssl_context(self._ca_file)
        return self._ssl_context


async def _receive(order: RequestContext, head: ResponseHead, reader: BodyReader) -> int:
    assert order.sink is not None
    fit = check_sinkable(
        requested=order.request.headers.get("range"),
        status=head.status,
        headers=head.headers,
        framing=reader.framing,
        room=len(order.sink),
        whole=order.request.extensions.get("whole"),
    )
    if fit.skip or fit.more:
        return await reader.within(order.sink, fit.skip, order.progress)
    received = await reader.into(order.sink, order.progress)
    if fit.size is not None and received != fit.size:
        raise httpx.RemoteProtocolError(
            f"{order.origin.peer} sent {received} of the {fit.size} bytes that it had announced."
        )
    return received


def _asks_to_stay(order: RequestContext) -> bool:
    return "close" not in order.request.headers.get("connection", "").lower()

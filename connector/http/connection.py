"""One connection: opened, a request sent, the head of its response received.

Heads are written and parsed by h11; bodies never pass through it.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import socket
import ssl
import sys
from collections.abc import Callable

import attrs
import h11
import httpx
import trio

from connector.errors import LocalError
from connector.http.buffered_reader import BufferedReader
from connector.http.routes import AddressPolicy, ForbiddenAddressError, Origin, Route
from connector.http.socket_stream import IdleState, OnBytes, SocketStream
from persistence.threads import gil_yielder

MAX_BODY_WITH_HEAD = 1 << 14
"""Bytes of a body that are sent together with the head."""

_EARLY_RESPONSE_GRACE = 2.0
"""Seconds that a server which stopped taking a body has for saying why."""

_MAX_UNSENT = 1 << 20
"""Bytes that may lie unsent in the kernel before a socket counts as full. Trio's 16 KiB suits interactive
protocols; a sender of large bodies would be woken for every 16 KiB."""

_MAX_SEND_BUFFER = 1 << 21
"""Bytes of a body that count as sent before they have arrived, on systems that do not tell."""

_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors that say nothing about the line or the server: trying again does not help."""

_MAX_HEAD = 1 << 16
_MAX_INTERIM_RESPONSES = 32


class UntrustedCertificateError(httpx.ConnectError):
    """The server's certificate is not signed by a trusted authority, has expired, or is for another host."""


class ProxyCredentialsError(httpx.ProxyError):
    """The proxy does not accept our credentials, or that there are none: any request meets the same answer again.

    `hint`: what to do about it.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


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
    """A stream with its reader. `idle_since` is the pool's note, `requested` when the last request was begun, and
    `responded` whether it was answered by anything at all."""

    def __init__(self, route: Route, stream: SocketStream) -> None:
        self.route = route
        self.stream = stream
        self.reader = BufferedReader(stream)
        self.idle_since = math.inf
        self.requested = -math.inf
        self._received_before = 0

    @property
    def responded(self) -> bool:
        """Whether anything at all was received since the last request was sent."""
        return self.reader.received > self._received_before

    def idle_state(self) -> IdleState:
        """What the peer did between requests."""
        return IdleState.UNEXPECTED_DATA if self.reader.has_leftovers else self.stream.idle_state()

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
        self._received_before, self.requested = self.reader.received, trio.current_time()
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        try:
            head = parser.send(h11.Request(method=request.method, target=request.target, headers=request.headers))
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(f"the request is malformed: {error}.") from error
        assert head is not None, "only a closed connection has no bytes to send"
        if len(request.body) <= MAX_BODY_WITH_HEAD:
            # The kernel takes it all at once, so there is no need to listen meanwhile.
            await self.stream.send_all(memoryview(head + request.body))
            if request.body and on_bytes is not None:
                on_bytes(len(request.body))
            return await self._receive_head(parser)

        await self.stream.send_all(memoryview(head))
        early = _EarlyResponse()
        failure: Exception | None = None
        is_complete = False
        left = len(request.body)

        def count(size: int) -> None:
            nonlocal left
            left -= size
            if on_bytes is not None:
                on_bytes(size)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, parser, early)
            with early.sending:
                try:
                    await self.stream.send_all(request.body, count)
                    is_complete = True
                    await self.stream.wait_acknowledged(left, count)
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
            if early.head.status < 300 and is_complete and left:
                count(left)  # the response says that they have arrived
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


async def open_connection(
    route: Route,
    *,
    ssl_context: Callable[[], ssl.SSLContext],
    policy: AddressPolicy | None,
    idle_timeout: float,
    session: ssl.SSLSession | None = None,
) -> Connection:
    """Open a connection. The caller sets the deadline.

    Args:
        route: Where it leads.
        ssl_context: Called only where TLS is needed: loading a trust store takes tens of milliseconds.
        policy: Asked about the IP address of a server that is connected to, before a byte is sent: a name that
            resolves to different addresses at different times cannot evade that. A proxy's address is not asked about.
        idle_timeout: Seconds without a byte after which the connection counts as dead.
        session: TLS session of an earlier connection of this route, which is resumed.

    Raises:
        ForbiddenAddressError: The address is not allowed.
        httpx.ConnectError: There is no connection, or its TLS handshake failed; `UntrustedCertificateError` is one.
        httpx.ProxyError: The proxy cannot be reached, or refuses to connect.
        httpx.UnsupportedProtocol: The host name cannot be one.
    """
    endpoint = route.endpoint
    try:
        sock = await _connect(endpoint)
    except (httpx.ConnectError, httpx.UnsupportedProtocol) as error:
        if route.is_direct:
            raise
        raise httpx.ProxyError(f"the proxy {endpoint.peer} ({route.proxy_setting}) does not work: {error}") from error
    stream = SocketStream(sock, peer=route.peer, idle_timeout=idle_timeout)
    try:
        if route.is_direct and policy is not None:
            address = stream.remote_address
            if not policy.is_allowed(endpoint.host, endpoint.port, address):
                raise ForbiddenAddressError(f"its address {address} is not allowed.")
        connection = Connection(route, stream)
        if endpoint.scheme == "https":
            await _start_tls(stream, endpoint, ssl_context, session)
        if route.tunnel_to is not None:
            await _open_tunnel(connection, route.tunnel_to)
            await _start_tls(stream, route.tunnel_to, ssl_context, session)
    except BaseException:
        stream.close()
        raise
    return connection


async def _connect(origin: Origin) -> socket.socket:
    try:
        with gil_yielder():  # names are resolved in a thread
            stream = await trio.open_tcp_stream(origin.host, origin.port)
    except socket.gaierror as error:
        raise httpx.ConnectError(f"the name {origin.host} cannot be resolved: {error.strerror}.") from error
    except UnicodeError as error:  # an empty or too long label
        raise httpx.UnsupportedProtocol(f"{origin.host} is no host name: {error}.") from error
    except (OSError, ValueError) as error:
        first = _first_cause(error)
        if isinstance(first, OSError) and first.errno in _LIMITS:
            hint = "Raise the limit (ulimit -n), or run less on this machine at the same time."
            raise LocalError(f"No connection can be opened here: {os.strerror(first.errno)}.", hint=hint) from error
        # trio puts the address before what the operating system says, and it is named already.
        reason = os.strerror(first.errno) if isinstance(first, OSError) and first.errno else str(first)
        raise httpx.ConnectError(f"no connection to {origin.peer}: {reason}.") from error
    # The plain socket without trio's wrapper, whose calls yield to the scheduler every time.
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    with contextlib.suppress(OSError):  # a matter of speed alone, and not all kernels have it
        if sys.platform != "linux":  # where it is not known what has arrived: see `socket_stream.unacknowledged`
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_SEND_BUFFER)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT)
    return sock


async def _open_tunnel(connection: Connection, target: Origin) -> None:
    """Have a proxy connect to `target` (RFC 9110, section 9.3.6)."""
    headers = [(b"Host", target.peer.encode())]
    if connection.route.proxy_authorization is not None:
        headers.append((b"Proxy-Authorization", connection.route.proxy_authorization))
    head = await connection.send_request(Request("CONNECT", target.peer.encode(), headers))
    check_proxy_credentials(connection.route, head)
    if not 200 <= head.status < 300:
        proxy = connection.route.endpoint.peer
        raise httpx.ProxyError(f"the proxy {proxy} answered {head.status} {head.reason.decode('latin-1')}.")
    if connection.reader.has_leftovers:
        raise httpx.ProxyError(f"the proxy {connection.route.endpoint.peer} sent data before its tunnel was used.")


def check_proxy_credentials(route: Route, head: ResponseHead) -> None:
    """Raise `ProxyCredentialsError` if a proxy answers that it needs credentials (RFC 9110, section 15.5.8)."""
    if head.status != 407:
        return
    proxy = f"the proxy {route.endpoint.peer}"
    challenges = head.headers.get_list("proxy-authenticate", split_commas=True)
    schemes = [match[1] for text in challenges if (match := re.match(r"([\w-]+)(?: |$)", text.strip()))]
    if schemes and "basic" not in map(str.lower, schemes):
        raise ProxyCredentialsError(
            f"{proxy} answered 407: it authenticates users by {', '.join(schemes)[:80]}, which is not supported.",
            hint="Ask its operators for access with name and password (Basic), or for a proxy without.",
        )
    why = "asks for a name and a password" if route.proxy_authorization is None else "refuses this name and password"
    raise ProxyCredentialsError(
        f"{proxy} answered 407: it {why}.",
        hint=f"Check the proxy's URL in {route.proxy_setting}: http://NAME:PASSWORD@HOST:PORT",
    )


async def _start_tls(
    stream: SocketStream, origin: Origin, ssl_context: Callable[[], ssl.SSLContext], session: ssl.SSLSession | None
) -> None:
    try:
        await stream.start_tls(ssl_context(), origin.host, session)
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message or error.reason
        raise UntrustedCertificateError(f"the certificate of {origin.peer} is not trusted: {why}.") from error
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise httpx.ConnectError(f"the TLS handshake with {origin.peer} failed: {why}.") from error


def _first_cause(error: Exception) -> Exception:
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause if isinstance(cause, OSError) else error

"""Connections to servers: opened, through proxies and TLS, kept while they are idle, and used again."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import ssl
import sys
from collections.abc import Callable

import httpx
import trio

from connector.errors import LocalError
from connector.http.connection import Connection, Request, ResponseHead
from connector.http.routes import AddressPolicy, ForbiddenAddressError, Origin, Route
from connector.http.socket_stream import SocketStream
from persistence.threads import gil_yielder

_MAX_UNSENT = 1 << 20
"""Bytes that may lie unsent in the kernel before a socket counts as full. Trio's 16 KiB suits interactive
protocols; a sender of large bodies would be woken for every 16 KiB."""

_MAX_SEND_BUFFER = 1 << 21
"""Bytes of a body that count as sent before they have arrived, on systems that do not tell."""

_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors that say nothing about the line or the server: trying again does not help."""


class UntrustedCertificateError(httpx.ConnectError):
    """The server's certificate is not signed by a trusted authority, has expired, or is for another host."""


class ProxyCredentialsError(httpx.ProxyError):
    """The proxy does not accept our credentials, or that there are none: any request meets the same answer again.

    `hint`: what to do about it.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


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
    bound_unsent(sock)
    return sock


def bound_unsent(sock: socket.socket, platform: str = sys.platform) -> None:
    """Bound what the kernel takes of a body before it is sent, so that what counts as moved is not far ahead."""
    with contextlib.suppress(OSError):  # a matter of speed alone, and not all kernels have it
        if platform != "linux":  # where it is not known what has arrived: see `socket_stream.unacknowledged`
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_SEND_BUFFER)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT)


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


class ConnectionPool:
    """At most `max_connections` connections over all routes, in use and idle together.

    Waiting requests get a slot in the order of their coming. An idle connection is used again within
    `keepalive_expiry` seconds, the last used one first, and is closed when another route needs its slot.
    """

    def __init__(self, max_connections: int, keepalive_expiry: float) -> None:
        self._max_connections = max_connections
        self._keepalive_expiry = keepalive_expiry
        self._slots = trio.Semaphore(max_connections, max_value=max_connections)
        self._idle: list[Connection] = []
        self._closed = False

    @property
    def in_use(self) -> int:
        """Slots taken."""
        return self._max_connections - self._slots.value

    @property
    def free(self) -> int:
        """Connections that may be opened without closing idle ones."""
        return self._slots.value - len(self._idle)

    @property
    def idle(self) -> int:
        """Connections kept for later."""
        return len(self._idle)

    def count_idle(self, route: Route) -> int:
        """Those of one route."""
        return sum(each.route == route for each in self._idle)

    async def acquire(self) -> None:
        """Wait for a slot: the right to one connection, to be ended with `release`."""
        try:
            self._slots.acquire_nowait()  # fails while others wait, so none of them is overtaken
        except trio.WouldBlock:
            await self._slots.acquire()

    def take_idle(self, route: Route) -> Connection | None:
        """Return the most recently used idle connection of `route` that is still good, closing those that are not."""
        self._close_expired()
        for connection in reversed([each for each in self._idle if each.route == route]):
            self._idle.remove(connection)
            if connection.is_idle():
                return connection
            connection.stream.close()
        return None

    def make_room(self) -> None:
        """Close the longest idle connections as far as one more would be too many. The caller holds a slot."""
        self._close_expired()
        while self._idle and self.in_use + len(self._idle) > self._max_connections:
            self._idle.pop(0).stream.close()

    def release(self, connection: Connection | None, *, reusable: bool) -> None:
        """End the use of a slot and of the connection that was opened or taken for it."""
        self._slots.release()
        if connection is None:
            return
        if reusable and not self._closed:
            connection.idle_since = trio.current_time()
            self._idle.append(connection)
            self._close_expired()
        else:
            connection.stream.close()

    def close(self) -> None:
        """Close the idle connections now and those in use when their requests end."""
        self._closed = True
        while self._idle:
            self._idle.pop().stream.close()

    def _close_expired(self) -> None:
        oldest = trio.current_time() - self._keepalive_expiry
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).stream.close()

"""Opening a connection: name resolution, TCP with happy eyeballs (RFC 8305), a proxy's tunnel, TLS."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable

import httpx
import trio

from connector.http.address_policy import AddressPolicy
from connector.http.connection import Connection, Request
from connector.http.routes import Origin, Route
from connector.http.socket_stream import SocketStream

_MAX_UNSENT = 1 << 20
"""Bytes that may lie unsent in the kernel before a socket counts as full. Trio's 16 KiB suits interactive
protocols; a sender of large bodies would be woken for every 16 KiB."""


class ForbiddenAddressError(httpx.ConnectError):
    """The server has an address that the policy refuses: trying again does not change that."""


async def dial(
    route: Route, *, ssl_context: Callable[[], ssl.SSLContext], policy: AddressPolicy | None, idle_timeout: float
) -> Connection:
    """Open a connection. The caller sets the deadline.

    Args:
        route: Where it leads.
        ssl_context: Called only where TLS is needed: loading a trust store takes tens of milliseconds.
        policy: Asked about the IP address of a server that is connected to, before a byte is sent: a name that
            resolves to different addresses at different times cannot evade that. A proxy's address is not asked about.
        idle_timeout: Seconds without a byte after which the connection counts as dead.

    Raises:
        ForbiddenAddressError: The address is not allowed.
        httpx.ConnectError: There is no connection, or its TLS handshake failed.
        httpx.ProxyError: The proxy refuses to connect.
        httpx.UnsupportedProtocol: The host name cannot be one.
    """
    endpoint = route.endpoint
    stream = SocketStream(await _connect(endpoint), peer=route.peer, idle_timeout=idle_timeout)
    try:
        if route.is_direct and policy is not None:
            address = stream.remote_address
            if not policy.is_allowed(endpoint.host, endpoint.port, address):
                raise ForbiddenAddressError(f"its address {address} is not allowed.")
        connection = Connection(route, stream)
        if endpoint.scheme == "https":
            await _start_tls(stream, endpoint, ssl_context)
        if route.tunnel_to is not None:
            await _open_tunnel(connection, route.tunnel_to)
            await _start_tls(stream, route.tunnel_to, ssl_context)
    except BaseException:
        stream.close()
        raise
    return connection


async def _connect(origin: Origin) -> socket.socket:
    try:
        stream = await trio.open_tcp_stream(origin.host, origin.port)
    except socket.gaierror as error:
        raise httpx.ConnectError(f"the name {origin.host} cannot be resolved: {error.strerror}.") from error
    except UnicodeError as error:  # an empty or too long label
        raise httpx.UnsupportedProtocol(f"{origin.host} is no host name: {error}.") from error
    except (OSError, ValueError) as error:
        raise httpx.ConnectError(f"no connection to {origin.peer}: {_first_reason(error)}.") from error
    # The plain socket without trio's wrapper, whose calls yield to the scheduler every time.
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with contextlib.suppress(OSError):  # a matter of speed alone, and not all kernels have it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT)
    return sock


async def _open_tunnel(connection: Connection, target: Origin) -> None:
    """Have a proxy connect to ``target`` (RFC 9110, section 9.3.6)."""
    headers = [(b"Host", target.peer.encode())]
    if connection.route.proxy_authorization is not None:
        headers.append((b"Proxy-Authorization", connection.route.proxy_authorization))
    head = await connection.send_request(Request("CONNECT", target.peer.encode(), headers))
    if not 200 <= head.status < 300:
        proxy = connection.route.endpoint.peer
        raise httpx.ProxyError(f"the proxy {proxy} answered {head.status} {head.reason.decode('latin-1')}.")
    if connection.reader.has_leftovers:
        raise httpx.ProxyError(f"the proxy {connection.route.endpoint.peer} sent data before its tunnel was used.")


async def _start_tls(stream: SocketStream, origin: Origin, ssl_context: Callable[[], ssl.SSLContext]) -> None:
    try:
        await stream.start_tls(ssl_context(), origin.host)
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message or error.reason
        raise httpx.ConnectError(f"the certificate of {origin.peer} is not trusted: {why}.") from error
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise httpx.ConnectError(f"the TLS handshake with {origin.peer} failed: {why}.") from error


def _first_reason(error: Exception) -> str:
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    first = cause if isinstance(cause, OSError) else error
    # trio puts the address before what the operating system says, and it is named already.
    return os.strerror(first.errno) if isinstance(first, OSError) and first.errno else str(first)

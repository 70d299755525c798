"""Opening a wire: name resolution, TCP with happy eyeballs (RFC 8305), TLS."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable

import attrs
import httpx
import trio

from connector.http.wire import SocketStream

_UNSENT_AT_MOST = 1 << 20
"""Bytes that may lie unsent in the kernel before a socket counts as full. Trio's 16 KiB suits interactive
protocols; a bulk sender would wake for every 16 KiB."""

_LAST_PORT = (1 << 16) - 1


@attrs.frozen
class Origin:
    """Where connections go and for whom they may be reused (RFC 9110, section 4.3.1)."""

    scheme: str
    host: str
    port: int
    server_name: str = ""

    @classmethod
    def of(cls, request: httpx.Request) -> Origin:
        """Take the origin from the URL; the ``sni_hostname`` extension overrides the name that TLS checks.

        Raises :class:`httpx.UnsupportedProtocol` for anything but http and https, and for a port that is none.
        """
        url = request.url
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"Cannot speak {url.scheme!r}, only http and https.")
        if not url.host:
            raise httpx.UnsupportedProtocol("The URL names no host.")
        host = url.raw_host.decode("ascii")
        port = (443 if url.scheme == "https" else 80) if url.port is None else url.port
        if not 0 < port <= _LAST_PORT:  # a resolver may take it modulo 65,536, which is somebody else's
            raise httpx.UnsupportedProtocol(f"{port} is no port.")
        return cls(url.scheme, host, port, str(request.extensions.get("sni_hostname") or host))

    @property
    def peer(self) -> str:
        """``host:port`` for messages: never the path or the query, which carry signatures."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ForbiddenAddressError(httpx.ConnectError):
    """The peer has an address that it may not have: no other try will change that."""


async def dial(
    origin: Origin, *, ssl_context: Callable[[], ssl.SSLContext], may_connect: Callable[[str], bool] | None = None
) -> SocketStream:
    """Connect to ``origin``. The caller sets the deadline. ``ssl_context`` is called only if there is need of it:
    loading a trust store takes tens of milliseconds.

    ``may_connect`` is asked about the peer's IP address before a byte is sent: the one moment when a name that
    resolves to different addresses at different times cannot cheat. Raises :class:`httpx.ConnectError`, and
    :class:`httpx.UnsupportedProtocol` for a host name that cannot be one.
    """
    sock = await _connect(origin)
    try:
        if may_connect is not None and not may_connect(address := str(sock.getpeername()[0])):
            raise ForbiddenAddressError(f"its address {address} is not allowed.")
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with contextlib.suppress(OSError):  # a matter of speed alone, and not all kernels have it
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_AT_MOST)
        if origin.scheme == "https":
            sock = ssl_context().wrap_socket(
                sock,
                server_hostname=origin.server_name,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
        wire = SocketStream(sock, peer=origin.peer)
        await wire.handshake()
    except ssl.SSLCertVerificationError as error:
        sock.close()
        why = error.verify_message or error.reason
        raise httpx.ConnectError(f"The certificate of {origin.peer} is not trusted: {why}.") from error
    except OSError as error:
        sock.close()
        why = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise httpx.ConnectError(f"The TLS handshake with {origin.peer} failed: {why}.") from error
    except BaseException:
        trio.lowlevel.notify_closing(sock)
        sock.close()
        raise
    return wire


async def _connect(origin: Origin) -> socket.socket:
    try:
        stream = await trio.open_tcp_stream(origin.host, origin.port)
    except socket.gaierror as error:
        raise httpx.ConnectError(f"The name {origin.host} cannot be resolved: {error.strerror}.") from error
    except UnicodeError as error:  # an empty or too long label: no other try will change that
        raise httpx.UnsupportedProtocol(f"{origin.host} is no host name: {error}.") from error
    except (OSError, ValueError) as error:
        raise httpx.ConnectError(f"Cannot connect to {origin.peer}: {_first_reason(error)}.") from error
    # The plain socket is wanted, without trio's wrapper: its calls yield to the scheduler every time.
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    return sock


def _first_reason(error: Exception) -> str:
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    told = cause if isinstance(cause, OSError) else error
    # trio puts the address before what the operating system says, and it is named already.
    return os.strerror(told.errno) if isinstance(told, OSError) and told.errno else str(told)

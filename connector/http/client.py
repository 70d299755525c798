"""The HTTP client of a session: one pool, one TLS context and one address policy for bodies and API calls."""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import Mapping, Sequence
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import attrs
import httpx
import trio

from connector.errors import ConnectorError, UsageError
from connector.http.connection import MAX_BODY_WITH_HEAD, Connection, Request, ResponseHead
from connector.http.pool import ConnectionPool, check_proxy_credentials, open_connection
from connector.http.response import Response
from connector.http.routes import AddressPolicy, ForbiddenAddressError, Origin, Route, literal_address, proxy_for
from connector.http.socket_stream import OnBytes
from connector.http.tls import make_ssl_context

USER_AGENT = b"crypt4gh-connector"

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.2
_CONNECT_AHEAD_TIMEOUT = 2.0
"""Seconds that a connection may take which is not needed yet."""
_DRIFT = 1.02
"""Factor by which the known latency of a server may grow with each response that took longer."""
_STALE = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_WRITTEN_HERE = frozenset({b"host", b"user-agent", b"connection", b"content-length", b"transfer-encoding"})
_NO_BODY = memoryview(b"")
_log = logging.getLogger(__name__)


@attrs.frozen
class HttpOptions:
    """How to connect.

    Attributes:
        connect_timeout: Seconds for name resolution, TCP, a proxy's tunnel and the TLS handshake together.
        read_timeout: Seconds that may pass without a byte, in either direction.
        max_connections: Bound on connections over all hosts, in use and idle together.
        keepalive_expiry: Seconds after which an idle connection is not used again: longer than the pauses of a session,
            shorter than the 4 minutes after which routers and load balancers forget one without a word.
        ca_file: Certificates (PEM) that are trusted instead of the system's.
        proxy: URL of a proxy for everything, an empty string for none at all, `None` to let `proxies` decide.
        proxies: What `urllib.request.getproxies` returns.
        address_policy: Which addresses may be connected to; `None` for all. Where a proxy resolves the names, only
            addresses that a URL spells out are known.
    """

    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    max_connections: int = 64
    keepalive_expiry: float = 120.0
    ca_file: Path | None = None
    proxy: str | None = attrs.field(default=None, repr=False)
    proxies: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    address_policy: AddressPolicy | None = None


class HttpClient:
    """Sends HTTP/1.1 requests over pooled connections. Redirects are responses like any other, never followed.

    `aclose` ends the connections: use it in `contextlib.aclosing`.

    Attributes:
        api: The same connections as an `httpx.AsyncClient`, for calls whose bodies are small. It keeps no
            cookies and takes nothing from the environment.
        pool: The connections.
    """

    def __init__(self, options: HttpOptions) -> None:
        self.pool = ConnectionPool(options.max_connections, options.keepalive_expiry)
        self.api = httpx.AsyncClient(
            transport=_ApiTransport(self),
            timeout=None,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )
        self._options = options
        self._ssl_context: ssl.SSLContext | None = None
        self._routes: dict[tuple[str, bytes], Route] = {}
        self._latencies: dict[Route, float] = {}
        self._tls_sessions: dict[Route, ssl.SSLSession] = {}

    @property
    def round_trip(self) -> float:
        """Seconds from a request to its response, without a large body, from the fastest server; 0 before the first."""
        return min(self._latencies.values(), default=0.0)

    async def connect_ahead(self, url: str, count: int) -> None:
        """Open connections that will soon be needed, unless `count` of them are idle or there are too many.

        Returns after two seconds at most. What goes wrong is left to the requests that need them.
        """
        try:
            route = self._route(httpx.URL(url))
        except (httpx.InvalidURL, httpx.TransportError, UsageError):
            return
        with trio.move_on_after(_CONNECT_AHEAD_TIMEOUT):
            async with trio.open_nursery() as nursery:
                for _ in range(min(count - self.pool.count_idle(route), self.pool.free)):
                    nursery.start_soon(self._connect_idle, route)

    async def _connect_idle(self, route: Route) -> None:
        await self.pool.acquire()
        connection: Connection | None = None
        try:
            connection = await self._connect(route)
        except (httpx.TransportError, ConnectorError):
            pass
        finally:
            self.pool.release(connection, reusable=True)

    async def request(
        self,
        method: str,
        url: httpx.URL | str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: memoryview = _NO_BODY,
        on_bytes: OnBytes | None = None,
    ) -> Response:
        """Send a request and receive the head of its response, which the caller closes.

        A kept connection that the server has closed meanwhile is replaced once, if the request may be repeated.

        Args:
            method: The method.
            url: Where to.
            headers: Further header fields: `Host`, `User-Agent` and `Content-Length` are written here.
            body: Sent without a copy; must not change meanwhile.
            on_bytes: Told how many bytes of the body were sent; a negative count takes back those of a connection that
                was replaced.

        Raises:
            httpx.TransportError: In all its kinds. Messages name host and port, never a path or query.
            UsageError: The proxy cannot be used.
            httpx.InvalidURL: The URL cannot be parsed.
        """
        url = httpx.URL(url)
        route = self._route(url)
        request = _request(route, method, url, headers, body)
        started = trio.current_time()
        await self.pool.acquire()
        connection: Connection | None = None
        try:
            connection, head = self.pool.take_idle(route), None
            if connection is not None:
                head = await self._send_on_kept(connection, request, on_bytes)
            if connection is None or head is None:
                connection = await self._connect(route)
                head = await connection.send_request(request, on_bytes)
            if route.is_forwarded:
                check_proxy_credentials(route, head)
            if len(body) <= MAX_BODY_WITH_HEAD:
                known = self._latencies.get(route, math.inf)
                self._latencies[route] = min(trio.current_time() - connection.requested, known * _DRIFT)
            release = partial(self._release, connection)
            response = Response(method, head, connection.reader, release, sent=connection.sent)
        except BaseException as error:
            self.pool.release(connection, reusable=False)
            if isinstance(error, httpx.TransportError):
                # Without the query: that of a presigned URL is a key to a file.
                _log.debug("%s %s failed: %s", method, url.copy_with(query=None), error)
            raise
        if _log.isEnabledFor(logging.DEBUG):
            what, seconds = f"{method} {url.copy_with(query=None)}", trio.current_time() - started
            _log.debug("%s was answered with %d in %.3f s", what, response.status, seconds)
        return response

    async def aclose(self) -> None:
        """Close the idle connections; those in use close when their requests end."""
        await self.api.aclose()
        self.pool.close()

    def _release(self, connection: Connection, reusable: bool) -> None:
        session = connection.stream.tls_session
        if session is not None:  # by now the server has sent what resumes it
            self._tls_sessions[connection.route] = session
        self.pool.release(connection, reusable=reusable)

    async def _send_on_kept(
        self, connection: Connection, request: Request, on_bytes: OnBytes | None
    ) -> ResponseHead | None:
        """Send on a connection that was idle; `None` if the server had closed it (RFC 9112, section 9.6)."""
        try:
            return await connection.send_request(request, on_bytes)
        except _STALE:
            if connection.responded or request.method not in _IDEMPOTENT:
                raise
        connection.stream.close()
        if connection.sent and on_bytes is not None:
            on_bytes(-connection.sent)
        return None

    async def _connect(self, route: Route) -> Connection:
        self.pool.make_room()
        options = self._options
        if route.needs_tls:
            self._trusted()  # certificates that cannot be used are told first: they are no fault of the network
        with trio.move_on_after(options.connect_timeout):
            return await open_connection(
                route,
                ssl_context=self._trusted,
                policy=options.address_policy,
                idle_timeout=options.read_timeout,
                session=self._tls_sessions.get(route),
            )
        seconds = f"{options.connect_timeout:g} seconds"
        raise httpx.ConnectTimeout(f"no connection to {route.peer}{route.via} within {seconds}.")

    def _route(self, url: httpx.URL) -> Route:
        key = url.scheme, url.netloc
        route = self._routes.get(key)
        if route is None:
            options, origin = self._options, Origin.of(url)
            address = literal_address(origin.host)
            policy = options.address_policy
            if policy is not None and address and not policy.is_allowed(origin.host, origin.port, str(address)):
                raise ForbiddenAddressError(f"its address {address} is not allowed.")
            proxy = proxy_for(str(url), proxies=options.proxies, option=options.proxy)
            route = self._routes[key] = Route.of(origin, proxy)
        return route

    def _trusted(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = make_ssl_context(self._options.ca_file)
        return self._ssl_context


def _request(
    route: Route, method: str, url: httpx.URL, headers: Sequence[tuple[bytes, bytes]], body: memoryview
) -> Request:
    fields = [(b"Host", url.netloc), (b"User-Agent", USER_AGENT), *headers]
    if body or method in ("POST", "PUT", "PATCH"):
        fields.append((b"Content-Length", b"%d" % body.nbytes))
    target = url.raw_path
    if route.is_forwarded:
        target = b"%s://%s%s" % (url.raw_scheme, url.netloc, target)
        if route.proxy_authorization is not None:
            fields.append((b"Proxy-Authorization", route.proxy_authorization))
    return Request(method, target, fields, body.cast("B"))


class _ApiTransport(httpx.AsyncBaseTransport):
    """Lets httpx send its requests through an `HttpClient`."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the body of an error is read at once, within bounds."""
        body = memoryview(await request.aread())
        headers = [field for field in request.headers.raw if field[0].lower() not in _WRITTEN_HERE]
        response = await self._client.request(request.method, request.url, headers, body)
        stream: httpx.AsyncByteStream = response
        if response.status >= 300:
            try:
                stream = httpx.ByteStream(await response.read_error())
            finally:
                response.close()
        extensions = {"reason_phrase": response.reason, "http_version": b"HTTP/1.1"}
        return httpx.Response(response.status, headers=response.headers, stream=stream, extensions=extensions)

"""The HTTP client of a session, and the way that each of its requests takes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import httpx
import trio

from connector.http import BulkTransport, make_ssl_context, proxy_for

USER_AGENT = "crypt4gh-connector"
_log = logging.getLogger(__name__)


@attrs.frozen
class HttpOptions:
    """How to speak HTTP. Times in seconds; ``proxies`` as :func:`urllib.request.getproxies` gives them.

    ``may_connect`` is asked about the IP address of each host before it is spoken to; with a proxy in between
    the proxy decides.
    """

    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    max_connections: int = 64
    keepalive_expiry: float = 15.0
    ca_file: Path | None = None
    proxy: str | None = attrs.field(default=None, repr=False)
    proxies: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    may_connect: Callable[[str], bool] | None = None


class Router(httpx.AsyncBaseTransport):
    """Sends straight through the bulk transport, or through httpx's own where a proxy stands in between."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._direct = BulkTransport(
            ca_file=options.ca_file,
            max_connections=options.max_connections,
            keepalive_expiry=options.keepalive_expiry,
            may_connect=options.may_connect,
        )
        self._by_proxy: dict[str, httpx.AsyncHTTPTransport] = {}
        self._proxy_of: dict[tuple[str, bytes], str | None] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request the way that its URL has to take."""
        if not _log.isEnabledFor(logging.DEBUG):
            return await self._send(request)
        # Without the query: that of a presigned URL is a key to a file.
        what, began = f"{request.method} {request.url.copy_with(query=None)}", trio.current_time()
        try:
            response = await self._send(request)
        except httpx.HTTPError as error:
            _log.debug("%s failed after %.3f s: %s", what, trio.current_time() - began, error)
            raise
        _log.debug("%s was answered with %d in %.3f s", what, response.status_code, trio.current_time() - began)
        return response

    async def _send(self, request: httpx.Request) -> httpx.Response:
        proxy = self._proxy(request.url)
        if proxy is None:
            return await self._direct.handle_async_request(request)
        transport = self._by_proxy.get(proxy)
        if transport is None:
            context = make_ssl_context(self._options.ca_file)
            transport = self._by_proxy[proxy] = httpx.AsyncHTTPTransport(verify=context, proxy=proxy)
        return await transport.handle_async_request(request)

    def _proxy(self, url: httpx.URL) -> str | None:
        host = url.scheme, url.netloc
        if host not in self._proxy_of:
            self._proxy_of[host] = proxy_for(str(url), proxies=self._options.proxies, option=self._options.proxy)
        return self._proxy_of[host]

    async def aclose(self) -> None:
        """Close all connections."""
        await self._direct.aclose()
        for transport in self._by_proxy.values():
            await transport.aclose()


class HttpClient:
    """Sends requests as they were built: it adds deadlines and who asks, and no more.

    httpx's own client would look for redirects, cookies and credentials, which the archive's contract has none of;
    with many small files that costs more than the requests themselves.

    :param transport: sends them and is closed with the client.
    :param timeout: how long each phase of a request may take.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, timeout: httpx.Timeout | None = None) -> None:
        self._transport = transport
        self._timeout = (timeout or httpx.Timeout(60.0, pool=None)).as_dict()

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` and give its response, whose body is yet to be read, and which the caller closes.

        Raises :class:`httpx.TransportError` in all its kinds.
        """
        request.headers["User-Agent"] = USER_AGENT
        request.extensions["timeout"] = self._timeout
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


@asynccontextmanager
async def open_http(options: HttpOptions) -> AsyncIterator[HttpClient]:
    """Open the client that speaks to the archive's APIs and to storage hosts; its connections end with the block.

    API calls take our own transport as well: httpx's looks through all its connections for each request, which with
    many small files costs more than the requests.
    """
    timeout = httpx.Timeout(options.read_timeout, connect=options.connect_timeout, pool=None)
    async with HttpClient(Router(options), timeout) as client:
        yield client

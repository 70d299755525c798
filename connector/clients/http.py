"""The HTTP clients: one for API calls, one for bulk data, both closed by one ``async with``."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import httpx

from connector.clients.bulk import BulkTransport, make_ssl_context, proxy_for

USER_AGENT = "crypt4gh-connector"


@attrs.frozen
class HttpOptions:
    """How to speak HTTP. Times in seconds; ``proxies`` as :func:`urllib.request.getproxies` gives them.

    ``may_connect`` is asked about the IP address of each storage host before it is spoken to; with a proxy in between
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


@attrs.frozen
class HttpClients:
    """``api`` for the archive's APIs, ``bulk`` for storage hosts."""

    api: httpx.AsyncClient
    bulk: httpx.AsyncClient


class BulkRouter(httpx.AsyncBaseTransport):
    """Sends straight through the bulk transport, or through httpx's own where a proxy stands in between."""

    def __init__(self, options: HttpOptions, context: ssl.SSLContext) -> None:
        self._options = options
        self._context = context
        self._direct = BulkTransport(
            ssl_context=context,
            max_connections=options.max_connections,
            keepalive_expiry=options.keepalive_expiry,
            may_connect=options.may_connect,
        )
        self._by_proxy: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request the way that its URL has to take."""
        proxy = proxy_for(str(request.url), proxies=self._options.proxies, option=self._options.proxy)
        if proxy is None:
            return await self._direct.handle_async_request(request)
        transport = self._by_proxy.get(proxy)
        if transport is None:
            transport = self._by_proxy[proxy] = httpx.AsyncHTTPTransport(verify=self._context, proxy=proxy)
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._direct.aclose()
        for transport in self._by_proxy.values():
            await transport.aclose()


@asynccontextmanager
async def open_http(options: HttpOptions) -> AsyncIterator[HttpClients]:
    """Open both clients; their connections end with the block."""
    context = make_ssl_context(options.ca_file)
    timeout = httpx.Timeout(options.read_timeout, connect=options.connect_timeout, pool=None)
    limits = httpx.Limits(
        max_connections=options.max_connections,
        max_keepalive_connections=options.max_connections,
        keepalive_expiry=options.keepalive_expiry,
    )
    headers = {"User-Agent": USER_AGENT}
    async with (
        httpx.AsyncClient(
            verify=context, timeout=timeout, limits=limits, headers=headers, proxy=options.proxy, trust_env=True
        ) as api,
        httpx.AsyncClient(
            transport=BulkRouter(options, context), timeout=timeout, headers=headers, trust_env=False
        ) as bulk,
    ):
        yield HttpClients(api, bulk)

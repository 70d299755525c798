"""How a URL is reached: straight, or by a proxy, which is chosen as httpx chooses it."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from typing import Self

import attrs
import httpx

_MAX_PORT = (1 << 16) - 1


@attrs.frozen
class Origin:
    """Scheme, host and port (RFC 9110, section 4.3.1)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> Self:
        """Take the origin of a URL.

        Raises:
            httpx.UnsupportedProtocol: The URL is not http or https, names no host, or its port is out of range.
        """
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"only http and https are supported, not {url.scheme!r}.")
        if not url.host:
            raise httpx.UnsupportedProtocol("the URL names no host.")
        port = (443 if url.scheme == "https" else 80) if url.port is None else url.port
        if not 0 < port <= _MAX_PORT:  # a resolver may take it modulo 65,536, which is another service's
            raise httpx.UnsupportedProtocol(f"{port} is no port.")
        return cls(url.scheme, url.raw_host.decode("ascii"), port)

    @property
    def peer(self) -> str:
        """``host:port`` for messages: never the path or the query, which carry signatures."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class Route:
    """Where a connection leads; requests with equal routes may share one.

    Attributes:
        endpoint: What the TCP connection leads to: the URL's origin or a proxy.
        tunnel_to: The origin that a proxy is asked to connect to (https), if any.
        is_forwarded: Whether a proxy forwards requests (http), which name the whole URL then.
        proxy_authorization: Credentials for the proxy, as a header value.
    """

    endpoint: Origin
    tunnel_to: Origin | None = None
    is_forwarded: bool = False
    proxy_authorization: bytes | None = attrs.field(default=None, repr=False)

    @classmethod
    def of(cls, origin: Origin, proxy: str | None) -> Self:
        """The route to ``origin`` by the proxy at this URL, if one is given.

        Raises:
            httpx.UnsupportedProtocol: The proxy is spoken to by a protocol that is not supported.
        """
        if proxy is None:
            return cls(origin)
        url = httpx.URL(proxy)
        if url.scheme not in ("http", "https") or (url.scheme, origin.scheme) == ("https", "https"):
            raise httpx.UnsupportedProtocol(f"a proxy of the kind {url.scheme}:// is not supported, only http://.")
        credentials = f"{url.username}:{url.password}".encode()
        return cls(
            endpoint=Origin.of(url),
            tunnel_to=origin if origin.scheme == "https" else None,
            is_forwarded=origin.scheme == "http",
            proxy_authorization=b"Basic " + base64.b64encode(credentials) if url.userinfo else None,
        )

    @property
    def is_direct(self) -> bool:
        """Whether no proxy stands in between."""
        return self.tunnel_to is None and not self.is_forwarded

    @property
    def peer(self) -> str:
        """The server at the other end as ``host:port``, for messages."""
        return (self.tunnel_to or self.endpoint).peer


def proxy_for(url: str, *, proxies: Mapping[str, str], option: str | None = None) -> str | None:
    """Choose the proxy of a request.

    ``NO_PROXY`` is a list with commas: ``*`` for all, a domain with all below it, ``.domain`` for those below
    only, an address, or a URL prefix such as ``http://host:port``. Networks in CIDR form match nothing but their
    first address, as with httpx.

    Args:
        url: Where the request goes.
        proxies: What :func:`urllib.request.getproxies` returns, which is where httpx looks: ``HTTP_PROXY``,
            ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` in either case, and the system's settings on Windows and
            macOS. The keys are ``http``, ``https``, ``all`` and ``no``.
        option: An explicit choice, which wins: a proxy's URL for everything, or an empty string for no proxy at all.

    Returns:
        The proxy's URL, ``None`` where the request goes straight.
    """
    if option is not None:
        return option or None
    target = httpx.URL(url)
    exceptions = [entry.strip() for entry in proxies.get("no", "").split(",") if entry.strip()]
    if "*" in exceptions or any(_matches(entry, target) for entry in exceptions):
        return None
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _matches(entry: str, target: httpx.URL) -> bool:
    if "://" in entry:
        pattern = httpx.URL(entry)
        return (
            pattern.scheme in ("all", target.scheme)
            and (not pattern.host or pattern.host == target.host)
            and (pattern.port is None or pattern.port == target.port)
        )
    address = _address(entry)
    if address is not None:
        return address == _address(target.host)
    entry, _, port = entry.lower().partition(":")
    if port and port != str(target.port):
        return False
    if entry == "localhost":
        return target.host == entry
    if entry.startswith("."):
        return target.host.endswith(entry)
    return target.host == entry or target.host.endswith("." + entry)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]").split("/")[0])
    except ValueError:
        return None

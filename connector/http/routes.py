"""Where requests may lead, and how: straight, or by a proxy, which is chosen as httpx chooses it."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit

import attrs
import httpx

from connector.errors import UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")))
"""Where clouds tell a machine its credentials (AWS, Azure, Google; AWS over IPv6; Alibaba)."""
_MAX_PORT = (1 << 16) - 1


class ForbiddenAddressError(httpx.ConnectError):
    """The server has an address that the policy refuses: trying again does not change that."""


@attrs.frozen
class AddressPolicy:
    """Decides by the archive's address in the settings; nothing that an archive answers changes it.

    An archive on this machine may name services of this machine. Any other may not: only the archive's own host and
    port may have a loopback address, since the user chose them. Private networks stay allowed: institutes resolve their
    storage to one. Metadata services, link-local and multicast addresses are refused always.

    Args:
        host: Host of the archive as the settings name it, in lower case.
        port: Its port.
    """

    host: str
    port: int

    @classmethod
    def of(cls, archive_url: str) -> Self:
        """Take host and port from the archive's URL; one that cannot be parsed makes the archive no local one."""
        try:
            parts = urlsplit(archive_url)
            return cls(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        except ValueError:
            return cls("", 0)

    @property
    def archive_is_local(self) -> bool:
        """Whether the settings name this machine: `localhost` or a loopback address."""
        address = literal_address(self.host)
        return address is not None and (address.is_loopback or address.is_unspecified)

    def is_allowed(self, host: str, port: int, address: str) -> bool:
        """Whether a connection to `host` and `port` may be made, which have this IP address."""
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        if parsed in _METADATA or parsed.is_link_local or parsed.is_multicast:
            return False
        if not (parsed.is_loopback or parsed.is_unspecified):
            return True
        return self.archive_is_local or (host.lower(), port) == (self.host, self.port)


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
        """`host:port` for messages: never the path or the query, which carry signatures."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class Route:
    """Where a connection leads; requests with equal routes may share one.

    Attributes:
        endpoint: What the TCP connection leads to: the URL's origin or a proxy.
        tunnel_to: The origin that a proxy is asked to connect to (https), if any.
        is_forwarded: Whether a proxy forwards requests (http), which name the whole URL then.
        proxy_authorization: Credentials for the proxy, as a header value.
        proxy_setting: The option or variable that names the proxy, for messages.
    """

    endpoint: Origin
    tunnel_to: Origin | None = None
    is_forwarded: bool = False
    proxy_authorization: bytes | None = attrs.field(default=None, repr=False)
    proxy_setting: str = ""

    @classmethod
    def of(cls, origin: Origin, proxy: Proxy | None) -> Self:
        """The route to `origin` by this proxy, if there is one.

        Raises:
            UsageError: The proxy's URL is not valid, or its protocol is not supported.
        """
        if proxy is None:
            return cls(origin)
        try:
            url = httpx.URL(proxy.url)
            endpoint = Origin.of(url)
            if endpoint.scheme == origin.scheme == "https":
                raise httpx.UnsupportedProtocol("https through a proxy of the kind https:// is not supported.")
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            # What the parser says may quote the password.
            why = "this is no URL." if isinstance(error, httpx.InvalidURL) else error
            raise UsageError(
                f"The proxy for {origin.peer}, which {proxy.setting} names, cannot be used: {why}",
                hint=f"Set {proxy.setting} to http://HOST:PORT. Without a proxy: --proxy '', or the host in NO_PROXY.",
            ) from error
        credentials = f"{url.username}:{url.password}".encode()
        return cls(
            endpoint=endpoint,
            tunnel_to=origin if origin.scheme == "https" else None,
            is_forwarded=origin.scheme == "http",
            proxy_authorization=b"Basic " + base64.b64encode(credentials) if url.userinfo else None,
            proxy_setting=proxy.setting,
        )

    @property
    def needs_tls(self) -> bool:
        """Whether the connection uses TLS, to the server or to a proxy."""
        return self.endpoint.scheme == "https" or self.tunnel_to is not None

    @property
    def is_direct(self) -> bool:
        """Whether no proxy stands in between."""
        return self.tunnel_to is None and not self.is_forwarded

    @property
    def peer(self) -> str:
        """The server at the other end as `host:port`, for messages."""
        return (self.tunnel_to or self.endpoint).peer

    @property
    def via(self) -> str:
        """The proxy, for messages that name the server; empty where there is none."""
        return "" if self.is_direct else f" by the proxy {self.endpoint.peer}"


def literal_address(host: str) -> Address | None:
    """The address that a host name spells out; `localhost` counts as one (RFC 6761, section 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


@attrs.frozen
class Proxy:
    """The URL of a proxy, and the option or variable that names it."""

    url: str = attrs.field(repr=False)
    setting: str


def proxy_for(url: str, *, proxies: Mapping[str, str], option: str | None = None) -> Proxy | None:
    """Choose the proxy of a request.

    `NO_PROXY` is a list with commas: `*` for all, a domain with all below it, `.domain` (or `*.domain`) for those
    below only, an address, a network in CIDR form (`10.0.0.0/8`, for addresses that a URL spells out), or a URL prefix
    such as `http://host:port`.

    Args:
        url: Where the request goes.
        proxies: What `urllib.request.getproxies` returns, which is where httpx looks: `HTTP_PROXY`,
            `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` in either case, and the system's settings on Windows and
            macOS. The keys are `http`, `https`, `all` and `no`.
        option: An explicit choice, which wins: a proxy's URL for everything, or an empty string for no proxy at all.

    Returns:
        The proxy, `None` where the request goes straight.

    Raises:
        UsageError: An entry of `NO_PROXY` is not valid.
    """
    if option is not None:
        return Proxy(option, "--proxy") if option else None
    target = httpx.URL(url)
    kind = target.scheme if proxies.get(target.scheme) else "all"
    proxy = proxies.get(kind)
    if not proxy:
        return None
    exceptions = proxies.get("no", "").replace(",", " ").split()
    if "*" in exceptions or any(_matches(entry, target) for entry in exceptions):
        return None
    return Proxy(proxy if "://" in proxy else f"http://{proxy}", f"{kind.upper()}_PROXY")


def _matches(entry: str, target: httpx.URL) -> bool:
    if "://" in entry:
        try:
            pattern = httpx.URL(entry)
        except httpx.InvalidURL as error:
            raise UsageError(
                f"NO_PROXY has an entry that is not valid: {entry[:80]!r}.", hint="Correct it, or leave it out."
            ) from error
        return (
            pattern.scheme in ("all", target.scheme)
            and (not pattern.host or pattern.host == target.host)
            and (pattern.port is None or pattern.port == target.port)
        )
    network = _network(entry)
    if network is not None:
        address = _network(target.host)
        return address is not None and address.version == network.version and address.network_address in network
    entry, _, port = entry.lower().removeprefix("*").partition(":")
    if port and port != str(target.port or (443 if target.scheme == "https" else 80)):
        return False
    if entry == "localhost":
        return target.host == entry
    if entry.startswith("."):
        return target.host.endswith(entry)
    return target.host == entry or target.host.endswith("." + entry)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network that a text names; one of a single address for an address."""
    try:
        return ipaddress.ip_network(text.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return None

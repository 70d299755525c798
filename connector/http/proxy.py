"""Whether a proxy stands between here and a URL, decided as httpx decides it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import httpx


def proxy_for(url: str, *, proxies: Mapping[str, str], option: str | None = None) -> str | None:
    """Name the proxy that a request to ``url`` has to take, ``None`` if it goes straight.

    ``option`` is an explicit choice and wins: a proxy's URL for everything, or an empty string for none at all.
    Otherwise ``proxies`` counts: what :func:`urllib.request.getproxies` gives, which is where httpx looks. It reads
    ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` in either case, and on Windows and macOS the
    system's settings. The keys are ``http``, ``https``, ``all`` and ``no``.

    ``NO_PROXY`` is a list with commas: ``*`` for all, a domain with all below it, ``.domain`` for those below
    only, an address, or a URL prefix such as ``http://host:port``. Networks in CIDR form match nothing but their
    first address, as with httpx.
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

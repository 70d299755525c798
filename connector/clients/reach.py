"""Which addresses a storage URL may lead to: an archive must not send its users to services of their own machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

import trio

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")))
"""Where clouds tell a machine its credentials (AWS, Azure, Google; AWS over IPv6; Alibaba)."""


async def reach_of(url: str) -> Callable[[str], bool]:
    """What an archive at ``url`` may name as address of its storage.

    One on this machine may name this machine; any other may not. Private networks stay allowed: institutes resolve
    their storage to one. Addresses of metadata services and link-local ones are out of reach for all. An archive whose
    name does not resolve here (it is reached by a proxy) counts as distant.
    """
    parts = urlsplit(url)
    local = False
    try:
        found = await trio.socket.getaddrinfo(parts.hostname, parts.port or 443)
        local = any(_parse(str(entry[4][0])).is_loopback for entry in found)
    except OSError:
        pass
    return lambda address: may_reach(_parse(address), archive_is_local=local)


def may_reach(address: Address, *, archive_is_local: bool) -> bool:
    """Whether a storage URL may lead to ``address``."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address in _METADATA or address.is_link_local or address.is_multicast:
        return False
    return archive_is_local or not (address.is_loopback or address.is_unspecified)


def _parse(text: str) -> Address:
    return ipaddress.ip_address(text.partition("%")[0])

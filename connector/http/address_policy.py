"""Which addresses a storage URL may lead to: an archive must not send its users to services of their own machine."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")))
"""Where clouds tell a machine its credentials (AWS, Azure, Google; AWS over IPv6; Alibaba)."""


class AddressPolicy:
    """What an archive may name as address of its storage.

    One on this machine may name this machine; any other may not. Private networks stay allowed: institutes resolve
    their storage to one. Addresses of metadata services and link-local ones are out of reach for all.

    The first address that is asked about is the archive's own, since the well-known values are what is fetched first,
    from where the user said. With ``distant`` it is not: the archive is reached by a proxy, which asks nobody here.
    """

    def __init__(self, *, distant: bool = False) -> None:
        self._archive_is_local: bool | None = False if distant else None

    def allows(self, address: str) -> bool:
        """Whether a connection may lead to this IP address."""
        parsed = _parse(address)
        if self._archive_is_local is None:
            self._archive_is_local = parsed.is_loopback
        return is_allowed_address(parsed, archive_is_local=self._archive_is_local)


def is_allowed_address(address: Address, *, archive_is_local: bool) -> bool:
    """Whether a storage URL may lead to ``address``."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address in _METADATA or address.is_link_local or address.is_multicast:
        return False
    return archive_is_local or not (address.is_loopback or address.is_unspecified)


def _parse(text: str) -> Address:
    return ipaddress.ip_address(text.partition("%")[0])

"""Which addresses a URL from the archive may lead to: not to services of the user's own machine."""

from __future__ import annotations

import ipaddress
from typing import Self
from urllib.parse import urlsplit

import attrs

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")))
"""Where clouds tell a machine its credentials (AWS, Azure, Google; AWS over IPv6; Alibaba)."""


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
        """Whether the settings name this machine: ``localhost`` or a loopback address."""
        address = literal_address(self.host)
        return address is not None and (address.is_loopback or address.is_unspecified)

    def is_allowed(self, host: str, port: int, address: str) -> bool:
        """Whether a connection to ``host`` and ``port`` may be made, which have this IP address."""
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        if parsed in _METADATA or parsed.is_link_local or parsed.is_multicast:
            return False
        if not (parsed.is_loopback or parsed.is_unspecified):
            return True
        return self.archive_is_local or (host.lower(), port) == (self.host, self.port)


def literal_address(host: str) -> Address | None:
    """The address that a host name spells out; ``localhost`` counts as one (RFC 6761, section 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None

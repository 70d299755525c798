"""HTTP for storage hosts: bodies move between socket and buffer without a detour.

Everything above sees only httpx: :class:`BulkTransport` is an :class:`httpx.AsyncBaseTransport`, and
:func:`proxy_for` tells whether httpx's own transport has to take its place.
"""

from __future__ import annotations

from connector.http.dial import ForbiddenAddressError
from connector.http.framing import WHOLE_AT_MOST, RangeIgnoredError
from connector.http.proxy import proxy_for
from connector.http.request_body import BufferStream
from connector.http.tls import make_ssl_context
from connector.http.transport import BulkTransport

__all__ = [
    "WHOLE_AT_MOST",
    "BufferStream",
    "BulkTransport",
    "ForbiddenAddressError",
    "RangeIgnoredError",
    "make_ssl_context",
    "proxy_for",
]

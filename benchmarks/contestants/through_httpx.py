"""The connector's own command line with httpx's transport in the place of the bulk transport, and nothing else changed.

The body of a part then comes as it does through a proxy: in pieces, each copied into the part's buffer.
"""

from __future__ import annotations

from typing import Any

import httpx

from connector.cli import main
from connector.clients import http
from connector.clients.bulk import make_ssl_context


class Plain(httpx.AsyncHTTPTransport):
    """Made with what the bulk transport is made with."""

    def __init__(self, *, ca_file: Any, max_connections: int, keepalive_expiry: float, **_: Any) -> None:
        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=keepalive_expiry,
        )
        super().__init__(verify=make_ssl_context(ca_file), limits=limits)


if __name__ == "__main__":
    http.BulkTransport = Plain  # type: ignore[misc,assignment]
    main()

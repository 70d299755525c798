"""HTTP/1.1 over sockets of our own: bodies move between socket and buffer without a copy.

`HttpClient` sends requests whose bodies go from and into the caller's memory; its `api` is an
`httpx.AsyncClient` on the same connections. Errors are httpx's.
"""

from __future__ import annotations

from connector.http.client import HttpClient, HttpOptions
from connector.http.pool import ProxyCredentialsError, UntrustedCertificateError
from connector.http.response import Response
from connector.http.routes import AddressPolicy, ForbiddenAddressError

__all__ = [
    "AddressPolicy",
    "ForbiddenAddressError",
    "HttpClient",
    "HttpOptions",
    "ProxyCredentialsError",
    "Response",
    "UntrustedCertificateError",
]

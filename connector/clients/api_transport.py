"""Requests to the archive's APIs and their responses, and the one place where they are sent."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import attrs
import httpx
import trio

from connector.errors import RETRY, RETRY_NOW, BrokenError, ConnectorError, UsageError
from connector.http import ForbiddenAddressError, ProxyCredentialsError, UntrustedCertificateError
from connector.transfer import OverloadedError
from connector.wire.lifetimes import ServerClocks

MAX_BODY = 16 * 1024**2
"""Upper bound of bytes of a response that are read."""

FAILURES = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)
"""What sending a request may raise; `UnicodeError` by the resolver, for host names that cannot be encoded."""


@attrs.frozen
class ApiRequest:
    """One request to an API.

    Attributes:
        method: The HTTP method.
        url: Without query.
        token: For the `Authorization` header (Bearer).
        data: Sent as JSON.
        params: Of the query.
    """

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    url: str
    token: str | None = attrs.field(default=None, repr=False)
    data: Any = attrs.field(default=None, repr=False)
    params: Mapping[str, str | int] = attrs.field(factory=dict)

    @property
    def server(self) -> str:
        """Scheme and host, for messages."""
        return server_of(self.url)


@attrs.frozen
class ApiReply:
    """One response.

    Attributes:
        status: Its status code.
        headers: Header fields, names in lower case.
        body: All of the body, decompressed.
        server: Scheme and host, for messages.
        received: When it was received, by the server's clock.
        asked: When its request was sent, in seconds of trio's clock.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)
    server: str = ""
    received: datetime | None = None
    asked: float | None = None


class ApiTransport:
    """Sends API requests, one try each.

    Args:
        client: Sends them.
        deadline: Seconds from the first byte of the request to the last of its response.
    """

    def __init__(self, client: httpx.AsyncClient, *, deadline: float = 60.0) -> None:
        self._client = client
        self._deadline = deadline
        self._clocks = ServerClocks()

    async def send(self, request: ApiRequest) -> ApiReply:
        """Send `request` and read the whole response, whatever its status.

        Raises:
            BrokenError: There is no response, or one longer than 16 MiB.
        """
        try:
            with trio.fail_after(self._deadline):
                return await self._send(request)
        except trio.TooSlowError:
            raise OverloadedError(
                f"{request.server} did not answer within {self._deadline:g} seconds.",
                hint="Check your connection; the archive may be down.",
                advice=RETRY,
            ) from None
        except FAILURES as error:
            raise broken(error, request.server) from error

    async def _send(self, request: ApiRequest) -> ApiReply:
        asked = trio.current_time()
        body = bytearray()
        headers = {"Accept": "application/json"}
        if request.token is not None:
            headers["Authorization"] = f"Bearer {request.token}"
        # Not built by the client: with many small files, merging its empty defaults takes longer than it should.
        sent = httpx.Request(
            request.method, request.url, params=request.params or None, headers=headers, json=request.data
        )
        response = await self._client.send(sent, stream=True)
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BODY:
                    raise BrokenError(
                        f"{request.server} sent an answer longer than {MAX_BODY} bytes.",
                        hint="Check the archive's address.",
                    )
        finally:
            await response.aclose()
        date = response.headers.get("date", "")
        received = self._clocks.received(request.server, date, trio.current_time(), time.time())
        return ApiReply(response.status_code, dict(response.headers), bytes(body), request.server, received, asked)


def server_of(url: str) -> str:
    """Return scheme and host of a URL for messages: its path may hold ids, its query secrets. Never raises."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "The address that was given"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def path_segment(name: str) -> str:
    """The name as one segment of a URL's path, also where it is a dot or two (RFC 3986, section 5.2.4)."""
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")


def broken(error: Exception, server: str) -> ConnectorError:
    """Return the error for a failed connection; a retry may help unless the address itself is invalid."""
    if isinstance(error, ForbiddenAddressError):
        return BrokenError(
            f"{server} must not be connected to: {_reason(error)}.",
            hint="An archive must not send its users to services of their own machine: tell its operators.",
        )
    if isinstance(error, ProxyCredentialsError):
        return UsageError(f"{server} cannot be reached: {_reason(error)}.", hint=error.hint)
    if isinstance(error, httpx.ProxyError):
        return BrokenError(
            f"{server} cannot be reached: {_reason(error)}.",
            hint="Check --proxy, or HTTPS_PROXY and its like; NO_PROXY names the hosts that need no proxy.",
            advice=RETRY,
        )
    if isinstance(error, UntrustedCertificateError):
        return BrokenError(
            f"{server} cannot be reached: {_reason(error)}.",
            hint="Check --ca-file, SSL_CERT_FILE and SSL_CERT_DIR, which name the certificates that are trusted; an"
            " institute's proxy may present its own.",
            advice=RETRY,
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return BrokenError(
            f"{server} cannot be reached: {_reason(error)}.",
            hint="Check the address and your connection.",
            advice=RETRY,
        )
    if isinstance(error, httpx.TimeoutException):
        return OverloadedError(f"{server} timed out: {_reason(error)}.", hint="Check your connection.", advice=RETRY)
    if isinstance(error, httpx.TransportError | httpx.DecodingError) and not isinstance(
        error, httpx.UnsupportedProtocol
    ):
        return BrokenError(
            f"The connection to {server} failed: {_reason(error)}.", hint="Check your connection.", advice=RETRY_NOW
        )
    return BrokenError(f"{server} is no usable address: {_reason(error)}.", hint="Check the archive's address.")


def _reason(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__

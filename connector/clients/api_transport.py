"""Requests to the archive's APIs, the one place where they are sent, and the errors of what comes back."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import attrs
import httpx
import trio

from connector.errors import (
    NO_RETRY,
    RETRY,
    RETRY_NOW,
    BrokenError,
    ConnectorError,
    RefusedError,
    RetryPolicy,
    UsageError,
)
from connector.http import ForbiddenAddressError, ProxyCredentialsError, UntrustedCertificateError
from connector.transfer import OverloadedError, TooManyOpenTransfersError
from connector.wire.lifetimes import ServerClocks, retry_after
from connector.wire.payloads import NOT_THE_ARCHIVE, ErrorBody, parse_json, read_payload

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
    for kind, hint in _HINTS_FOR_UNREACHABLE.items():
        if isinstance(error, kind):
            return BrokenError(f"{server} cannot be reached: {_reason(error)}.", hint=hint, advice=RETRY)
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


_HINTS_FOR_UNREACHABLE = {
    httpx.ProxyError: "Check --proxy, or HTTPS_PROXY and its like; NO_PROXY names the hosts that need no proxy.",
    UntrustedCertificateError: "Check --ca-file, SSL_CERT_FILE and SSL_CERT_DIR, which name the certificates that are"
    " trusted; an institute's proxy may present its own.",
    httpx.ConnectError: "Check the address and your connection.",
    httpx.ConnectTimeout: "Check the address and your connection.",
}
_AGAIN = "Run the same command again to send the file again."
_HINTS = {
    "noSuchStorage": "Tell the archive's operators: the storage is not set up.",
    "checksumMismatch": f"{_AGAIN} If that does not help, have this machine's memory and network checked.",
    "invalidPartSize": "Choose another --part-size.",
    "uploadSizeMismatch": _AGAIN,
    "boxNotFound": "Ask for a new access token.",
    "fileUploadNotFound": f"The upload was deleted or replaced in the archive. {_AGAIN}",
    "s3UploadNotFound": f"The storage has aborted the upload. {_AGAIN}",
    "uploadCompletionError": f"The storage cannot assemble the parts. {_AGAIN}",
    "boxStateError": "The box is locked or archived: ask the archive's data stewards to open it, then run the same"
    " command again.",
    "fileUploadAlreadyExists": "Choose another --alias, or see what is in the box: connector ls",
    "fileUploadStateError": f"The upload has failed in the archive or was cancelled there. {_AGAIN}",
    "orphanedMultipartUpload": f"{_AGAIN} If that does not help, tell the archive's operators.",
    "boxVersionOutdated": f"The box changed at the same moment. {_AGAIN}",
    "boxMaxSizeExceeded": "Ask the archive's data stewards for a larger box, then run the same command again.",
    "wrongFileAuthorizationError": "Ask for a work package that includes this file.",
    "noSuchObject": "Check the accession; ask for a work package that includes this file.",
}
_NEW_TOKEN = "Ask for a new access token; if that is refused too, tell the archive's operators."
_FINAL = frozenset({"uploadCompletionError", "uploadAbortError"})
"""Errors of an upload, not of the archive itself, that an archive reports with 500."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")


class TokenRefusedError(RefusedError):
    """A token was rejected (401): a retry with the same token will not succeed, one with another may."""


def error_from_response(
    reply: ApiReply, action: str, *, hints: Mapping[str, str] = _HINTS, see: str = ""
) -> ConnectorError:
    """The error for `reply`, whose status `action` (an infinitive: "list the box") does not expect.

    `hints` are those of this action by `exception_id` or status; `see` is added to the hint of any refusal.
    """
    status, body = reply.status, _error_body(reply)
    hint = hints.get(body.exception_id) or hints.get(str(status)) or _HINTS.get(body.exception_id, "")
    description = f": {body.description}" if body.description else f" {body.exception_id}".rstrip()
    message = f"Could not {action}: the archive answered {status}{description}".rstrip(".") + "."
    wait = retry_after(reply.headers, reply.received)
    if status == 401:
        return TokenRefusedError(
            message,
            hint=f"{hint or _NEW_TOKEN} {see}".rstrip(),
            status=status,
            exception_id=body.exception_id,
        )
    if body.exception_id == "tooManyOpenUploads":
        return TooManyOpenTransfersError(
            message,
            hint="Others are being uploaded into this box. See which, and delete abandoned ones:"
            " connector status --in-box; connector discard --in-box NAME.",
            status=status,
            exception_id=body.exception_id,
        )
    if status in (408, 425, 429, 502, 503, 504):
        return OverloadedError(
            message,
            hint="The archive is busy or down; try again later.",
            advice=RetryPolicy(again=True, after=wait or None, rate_limited=status == 429),
        )
    if status >= 500 and status != 507 and body.exception_id not in _FINAL:
        # Concurrent calls about one box collide in some archives: the next one succeeds.
        collided = body.exception_id == "internalError" and wait is None
        advice = (
            RetryPolicy(again=True, after=0.0, expected=True)
            if collided
            else RetryPolicy(again=True, after=wait or None)
        )
        return BrokenError(message, hint=hint or "The archive has a problem; try again later.", advice=advice)
    if status < 400:  # also a success other than that of the contract, which login pages pretend
        hint = NOT_THE_ARCHIVE if status < 300 else "Redirects are not followed; check the archive's address."
        return BrokenError(message, hint=hint)
    return RefusedError(
        message,
        hint=f"{hint or _general_hint(status)} {see}".strip(),
        advice=RETRY if body.exception_id in ("boxVersionOutdated", "uploadAbortError") else NO_RETRY,
        status=status,
        exception_id=body.exception_id,
    )


def _general_hint(status: int) -> str:
    if status == 403:
        return "Check that token and key belong together and have not expired, or ask for a new access token."
    if status == 404:
        return "Check what you asked for and the archive's address."
    if status == 422:
        return "The archive does not take these values: check the file's size, its alias and --part-size."
    return "Run the same command again later; if that does not help, tell the archive's operators."


def _error_body(reply: ApiReply) -> ErrorBody:
    """The error body of a response, made safe for a terminal; empty if it does not follow the contract.

    Some layers of an archive (its web framework, its gateway) send `detail` instead of a description: a text, or a list
    of faults of the request.
    """
    try:
        data = parse_json(reply.body[:65_536])
        body = read_payload(data, ErrorBody)
    except ConnectorError:
        return ErrorBody()
    detail = data.get("detail") if isinstance(data, dict) else None
    if isinstance(detail, list):
        detail = "; ".join(str(fault["msg"]) for fault in detail[:3] if isinstance(fault, dict) and "msg" in fault)
    description = body.description or (detail if isinstance(detail, str) else "")
    return ErrorBody(
        exception_id=_CONTROL.sub(" ", body.exception_id)[:80], description=_CONTROL.sub(" ", description)[:300]
    )

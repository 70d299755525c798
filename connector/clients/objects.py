"""Objects of the storage behind presigned URLs: byte ranges received into buffers, parts sent from them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import httpx
import trio

from connector.clients.api_transport import FAILURES, broken, server_of
from connector.clients.object_responses import EtagRecord, find_range, misbehaves, redirect_target, stored_md5
from connector.errors import (
    RENEW,
    RETRY,
    RETRY_NOW,
    BrokenError,
    ConnectorError,
    IntegrityError,
    RefusedError,
    RetryPolicy,
)
from connector.http import HttpClient, Response
from connector.transfer import OverloadedError, Progress
from connector.wire.lifetimes import retry_after

_EXPIRED = re.compile(rb"expired|AccessDenied|SignatureDoesNotMatch|InvalidToken", re.IGNORECASE)
_TRANSIENT = re.compile(rb"<Code>(RequestTimeout|IncompleteBody|BadDigest|OperationAborted)</Code>")
"""Errors of S3 with the status 400 or 409 that do not concern the request itself: a slow line, or a collision.

Source: "Error responses", Amazon S3 API Reference.
"""
_AGAIN = "It is tried again by itself."
_NO_BODY = memoryview(b"")


class UrlRefusedError(RefusedError):
    """A presigned URL was refused, most likely because it has expired: a new one may be accepted."""


class ObjectClient(Protocol):
    """Moves bytes between buffers and objects at presigned URLs, one try per call.

    Sessions use `HttpObjectClient` unless they are given another. Errors are of the five families
    (`errors`); their `advice` tells the retry loop what to do, and their messages hold no URL: the
    query of a presigned one is a key to a file.
    """

    async def fetch_into(
        self,
        url: str,
        start: int,
        stop: int,
        buffer: memoryview,
        on_bytes: Progress,
        *,
        size: int | None = None,
    ) -> int:
        """Receive the bytes `start` to `stop` (exclusive) of an object.

        Args:
            url: Presigned for GET.
            start: Offset of the first byte.
            stop: Offset behind the last byte.
            buffer: Filled from its beginning; has room for `stop - start` bytes. After an error it holds as many
                bytes as were reported.
            on_bytes: Called with the count of bytes received since its last call.
            size: Of the whole object in bytes, if it is known.

        Returns:
            The count of bytes received, always `stop - start`.

        Raises:
            UrlRefusedError: The URL has to be renewed.
            ConnectorError: Anything else that went wrong.
        """

    async def put_from(self, url: str, buffer: memoryview, on_bytes: Progress, *, md5: str) -> str:
        """Send a part.

        Args:
            url: Presigned for PUT.
            buffer: All of it is sent; must not change meanwhile.
            on_bytes: Called with the count of bytes sent since its last call; a negative count takes back bytes that
                have to be sent again.
            md5: Of the buffer, lower case hex.

        Returns:
            The ETag of the part, empty if the storage named none.

        Raises:
            UrlRefusedError: The URL has to be renewed.
            IntegrityError: The storage has stored other bytes.
            ConnectorError: Anything else that went wrong.
        """


class HttpObjectClient:
    """The `ObjectClient` over HTTP.

    Args:
        http: Sends the requests.
        deadline: Seconds for one part, however slowly it moves; idle connections time out on their own.
    """

    def __init__(self, http: HttpClient, *, deadline: float = 1800.0) -> None:
        self._http = http
        self._deadline = deadline
        self._etags = EtagRecord()

    async def fetch_into(
        self,
        url: str,
        start: int,
        stop: int,
        buffer: memoryview,
        on_bytes: Progress,
        *,
        size: int | None = None,
    ) -> int:
        """See `ObjectClient.fetch_into`.

        From a server that ignores the `Range` header (RFC 9110, section 14.2) the bytes are picked out of the whole
        object, if it has `size` bytes and no more than 256 MiB. A server may send only the first of them (section
        15.3.7): they are reported, and the error says that the rest is to be requested.
        """
        headers = [(b"Range", b"bytes=%d-%d" % (start, stop - 1)), (b"Accept-Encoding", b"identity")]
        with self._failures(url), trio.fail_after(self._deadline):
            server, response = await self._send("GET", url, headers)
            try:
                if not 200 <= response.status < 300:
                    body = await response.read_error()
                    raise error_from_response("GET", server, response.status, response.headers, body)
                window = find_range(server, response.status, response.headers, start, stop, size)
                wanted = buffer[: window.size]
                for position in range(0, window.offset, len(wanted)):  # overwritten by what follows
                    await response.read_into(wanted[: window.offset - position])
                received = await response.read_into(wanted, on_bytes)
                if received < stop - start:
                    raise BrokenError(
                        f"{server} sent {received} of {stop - start} bytes.", hint=_AGAIN, advice=RETRY_NOW
                    )
                if window.ends_body and await _goes_on(response):
                    raise misbehaves(server, "sent more bytes than were asked for")
                return received
            finally:
                response.close()

    async def put_from(self, url: str, buffer: memoryview, on_bytes: Progress, *, md5: str) -> str:
        """See `ObjectClient.put_from`."""
        with self._failures(url), trio.fail_after(self._deadline):
            server, response = await self._send("PUT", url, (), buffer, on_bytes)
            try:
                body = await response.read_error()
                if not 200 <= response.status < 300:
                    raise error_from_response("PUT", server, response.status, response.headers, body)
            finally:
                response.close()
        if "etag" not in response.headers and body.lstrip()[:1] == b"<":
            raise misbehaves(server, "answered a PUT of a part with a page")  # a login page: nothing is stored
        if self._etags.is_damaged(md5, stored_md5(response.headers)):
            raise IntegrityError(
                f"{server} has stored other bytes of a part than were sent.",
                hint="It was sent as often as --retries says. Run the same command again; if that does not help,"
                " have this machine's memory and network checked.",
                advice=RETRY,
            )
        etag: str = response.headers.get("etag", "")
        return etag.strip('"')

    async def _send(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: memoryview = _NO_BODY,
        on_bytes: Progress = lambda count: None,
    ) -> tuple[str, Response]:
        """Send a request, and once more where the storage redirects it to another endpoint of the bucket.

        Returns:
            Scheme and host of the server, for messages, and its response.
        """
        response = await self._http.request(method, url, headers, body, on_bytes)
        target = redirect_target(url, response.status, response.headers)
        if target is None:
            return server_of(url), response
        try:
            await response.read_error()
        finally:
            response.close()
        if response.sent:
            on_bytes(-response.sent)
        with self._failures(target):
            return server_of(target), await self._http.request(method, target, headers, body, on_bytes)

    @contextmanager
    def _failures(self, url: str) -> Iterator[None]:
        """Turn what the transport raises into errors of the families."""
        try:
            yield
        except trio.TooSlowError:
            raise OverloadedError(
                f"{server_of(url)} took more than {self._deadline:g} seconds for one part.",
                hint="Choose a smaller --part-size.",
                advice=RETRY,
            ) from None
        except FAILURES as error:
            raise broken(error, server_of(url)) from error


async def _goes_on(response: Response) -> bool:
    """Whether there is more of a body. All that was asked for is here, so that a failure now does no harm."""
    try:
        return bool(await response.read_some())
    except httpx.TransportError:
        return False


def error_from_response(
    method: str, server: str, status: int, headers: Mapping[str, str], body: bytes
) -> ConnectorError:
    """The error for a response of the storage other than success, with what to do about it."""
    message = f"{server} answered {status} to a {method} of a part."
    if method == "PUT" and status == 404 and b"NoSuchUpload" in body:
        return RefusedError(
            f"{server} does not know the upload any more.",
            hint="Run the same command again.",
            status=status,
            exception_id="NoSuchUpload",
        )
    # S3 says 403 AccessDenied or 400 ExpiredToken for a URL that has expired; a staged copy that was cleaned away is a
    # 404, and asking for a new URL stages it again.
    if status in (401, 403, 404) or (status == 400 and _EXPIRED.search(body)):
        return UrlRefusedError(
            message, hint="The address was renewed and refused again: tell the archive.", advice=RENEW, status=status
        )
    if status in (408, 425, 429) or (status >= 500 and status != 507) or _TRANSIENT.search(body):
        wait = retry_after(dict(headers), datetime.fromtimestamp(time.time(), UTC))
        return OverloadedError(
            message,
            hint="The storage is busy or down; try again later.",
            advice=RetryPolicy(again=True, after=wait or None, rate_limited=status == 429),
        )
    if 300 <= status < 400:
        return RefusedError(
            f"{server} redirects a {method} of a part ({status}) to where it is not followed.",
            hint="Tell the archive's operators: only another address of the same object is accepted, once.",
            status=status,
        )
    if status == 507:
        hint = "Tell the archive's operators. When there is room, run the same command again: what was sent is kept."
        return RefusedError(f"{server} has no room left for a part.", hint=hint, status=status)
    if status == 413:
        hint = (
            "Something on the way limits the size of requests: choose a smaller --part-size. An upload keeps the one"
            " that it was begun with, so discard it first: connector discard NAME"
        )
        return RefusedError(message, hint=hint, status=status)
    if status == 416:
        return IntegrityError(f"{server} has fewer bytes of the file than the archive says.", hint="Tell the archive.")
    return RefusedError(message, hint="Tell the archive's operators.", status=status)

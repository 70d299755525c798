"""Objects of the storage behind presigned URLs: byte ranges received into buffers, parts sent from them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import trio

from connector.clients.api_transport import FAILURES, broken, server_of
from connector.clients.etags import EtagRecord, stored_md5
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
from connector.http import HttpClient
from connector.transfer import OverloadedError, Progress
from connector.wire.lifetimes import retry_after

MAX_WHOLE_OBJECT = 256 * 1024**2
"""Largest object (bytes) whose parts are picked out of the whole where a server ignores the `Range` header."""

_EXPIRED = re.compile(rb"expired|AccessDenied|SignatureDoesNotMatch|InvalidToken", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:[0-9]{1,18}|\*)")  # RFC 9110, section 14.4
_AGAIN = "It is tried again by itself."


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
        object, if it has `size` bytes and no more than 256 MiB.
        """
        headers = [(b"Range", b"bytes=%d-%d" % (start, stop - 1)), (b"Accept-Encoding", b"identity")]
        wanted = buffer[: stop - start]
        with self._failures(url), trio.fail_after(self._deadline):
            response = await self._http.request("GET", url, headers)
            try:
                if response.status not in (200, 206):
                    body = await response.read_error()
                    raise error_from_response("GET", server_of(url), response.status, response.headers, body)
                skip = check_range(server_of(url), response.status, response.headers, start, stop, size)
                for position in range(0, skip, len(wanted)):  # overwritten by what follows
                    await response.read_into(wanted[: skip - position])
                received = await response.read_into(wanted, on_bytes)
                if received < len(wanted):
                    raise BrokenError(
                        f"{server_of(url)} sent {received} of {stop - start} bytes.", hint=_AGAIN, advice=RETRY_NOW
                    )
                is_whole = response.status == 200 and response.headers.get("content-length") == str(size)
                if not is_whole and await response.read_some():
                    raise _misbehaves(server_of(url), "sent more bytes than were asked for")
                return received
            finally:
                response.close()

    async def put_from(self, url: str, buffer: memoryview, on_bytes: Progress, *, md5: str) -> str:
        """See `ObjectClient.put_from`."""
        with self._failures(url), trio.fail_after(self._deadline):
            response = await self._http.request("PUT", url, (), buffer, on_bytes)
            try:
                body = await response.read_error()
                if not 200 <= response.status < 300:
                    raise error_from_response("PUT", server_of(url), response.status, response.headers, body)
            finally:
                response.close()
        if self._etags.is_damaged(md5, stored_md5(response.headers)):
            raise IntegrityError(
                f"{server_of(url)} has stored other bytes of a part than were sent.",
                hint="It was sent as often as --retries says. Run the same command again; if that does not help,"
                " have this machine's memory and network checked.",
                advice=RETRY,
            )
        etag: str = response.headers.get("etag", "")
        return etag.strip('"')

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


def check_range(server: str, status: int, headers: Mapping[str, str], start: int, stop: int, size: int | None) -> int:
    """Check that a 200 or 206 holds the bytes that were asked for, or all of the object, of `size` bytes.

    Returns:
        How many bytes of the body come before them.

    Raises:
        BrokenError: It holds other bytes, or they are encoded.
    """
    coding = headers.get("content-encoding", "").strip().lower()
    # Some stores return the "aws-chunked" of the upload as if it were a property of the object.
    if coding not in ("", "identity", "aws-chunked"):
        raise _misbehaves(server, f"sent the bytes encoded as {coding[:20]!r}")
    length = headers.get("content-length")
    if status == 206:
        match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if match is None or (int(match[1]), int(match[2])) != (start, stop - 1):
            raise _misbehaves(server, "answered with another range than was asked for")
        if length not in (None, str(stop - start)):
            raise _misbehaves(server, "sent a body that is not as long as its range")
        return 0
    if size is not None and length == str(size) and stop <= size:
        if stop - start < size and size > MAX_WHOLE_OBJECT:
            raise BrokenError(
                f"{server} sends whole objects where parts of them are asked for, and this one is large.",
                hint="Choose a --part-size of at least the file's size (memory grows to it), or tell the archive's"
                " operators.",
            )
        return start
    if start != 0 or length not in (None, str(stop)):
        raise _misbehaves(server, "does not serve ranges")
    return 0


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
    if status in (408, 425, 429, 500, 502, 503, 504):
        wait = retry_after(dict(headers), datetime.fromtimestamp(time.time(), UTC))
        return OverloadedError(
            message,
            hint="The storage is busy or down; try again later.",
            advice=RetryPolicy(again=True, after=wait or None),
        )
    if status == 507:
        hint = "Tell the archive's operators. When there is room, run the same command again: what was sent is kept."
        return RefusedError(f"{server} has no room left for a part.", hint=hint, status=status)
    if status == 416:
        return IntegrityError(f"{server} has fewer bytes of the file than the archive says.", hint="Tell the archive.")
    return RefusedError(message, hint="Tell the archive's operators.", status=status)


def _misbehaves(server: str, what: str) -> BrokenError:
    return BrokenError(f"{server} {what}.", hint="Tell the archive's operators.", advice=RETRY)

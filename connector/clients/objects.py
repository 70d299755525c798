"""The objects themselves: ranged GETs and part PUTs on presigned URLs."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import trio

from connector.clients.etags import EtagRecord, stored_md5
from connector.clients.exchange import FAILURES, broken, server_of
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
from connector.http import WHOLE_AT_MOST, BufferStream, RangeIgnoredError
from connector.http.client import HttpClient
from connector.transfer import OverloadedError, Progress
from connector.wire.lifetimes import retry_after

_EXPIRED = re.compile(rb"expired|AccessDenied|SignatureDoesNotMatch|InvalidToken", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class UrlRefusedError(RefusedError):
    """A presigned URL was refused, most likely because it has expired: a new one may be accepted."""


class ObjectClient:
    """Moves parts between buffers and storage hosts.

    ``deadline`` bounds one part (seconds), however slowly it trickles; silence is bounded by the client's timeouts.
    """

    def __init__(self, client: HttpClient, *, deadline: float = 1800.0) -> None:
        self._client = client
        self._deadline = deadline
        self._etags = EtagRecord()

    async def get_range(
        self, url: str, start: int, stop: int, buffer: memoryview, progress: Progress, *, size: int | None = None
    ) -> None:
        """Fill ``buffer`` with bytes ``start`` to ``stop`` (exclusive) of the object at ``url``.

        From a storage that sends the whole object instead, of ``size`` bytes, they are picked out, up to 256 MiB.
        Raises :class:`UrlRefusedError` for a URL that is to be renewed, other errors of the families.
        """
        async with self._answer(
            "GET",
            url,
            headers={"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"},
            extensions={"sink": buffer, "on_bytes": progress, "whole": size},
        ) as response:
            if response.status_code not in (200, 206):
                raise _refused(response, await response.aread(), "GET")
            picked = _check_range(response, start, stop, size)
            received = response.extensions.get("received")
            if received is None:
                skip = start if picked else 0
                received = await _fill(response, buffer, progress, skip, surplus=picked)
            if received != stop - start:
                raise BrokenError(
                    f"{server_of(url)} sent {received} of {stop - start} bytes.", hint=_AGAIN, advice=RETRY_NOW
                )

    async def put_part(self, url: str, data: memoryview, progress: Progress, *, md5: str) -> None:
        """Put ``data``, whose md5 is ``md5``, to the part URL ``url``.

        Raises :class:`~connector.errors.IntegrityError` if the storage has stored something else.
        """
        counted = 0

        def count(size: int) -> None:
            nonlocal counted
            counted += size
            progress(size)

        async with self._answer(
            "PUT",
            url,
            headers={"Content-Length": str(len(data))},
            extensions={"on_bytes": count},
            content=BufferStream(data),
        ) as response:
            if not 200 <= response.status_code < 300:
                raise _refused(response, await response.aread(), "PUT")
            if counted != len(data):
                progress(len(data) - counted)  # by way of httpx, which tells of nothing on the way
            if self._etags.is_damaged(md5, stored_md5(response.headers)):
                raise IntegrityError(
                    f"{server_of(url)} has stored other bytes of a part than were sent.",
                    hint="It was sent as often as --retries says. Run the same command again; if that does not help,"
                    " have this machine's memory and network checked.",
                    advice=RETRY,
                )

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        extensions: Mapping[str, Any],
        content: BufferStream | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send one request and give its response, with the failures of both turned into ours."""
        try:
            with trio.fail_after(self._deadline):
                request = httpx.Request(method, url, headers=headers, content=content, extensions={**extensions})
                response = await self._client.send(request)
                try:
                    yield response
                finally:
                    await response.aclose()
        except trio.TooSlowError:
            raise OverloadedError(
                f"{server_of(url)} took more than {self._deadline:g} seconds for one part.",
                hint="Choose a smaller --part-size.",
                advice=RETRY,
            ) from None
        except RangeIgnoredError:
            raise _sends_all(url) from None
        except FAILURES as error:
            raise broken(error, server_of(url)) from error


_AGAIN = "It is tried again by itself."


async def _fill(response: httpx.Response, buffer: memoryview, progress: Progress, skip: int, *, surplus: bool) -> int:
    """Read a body into the buffer by way of httpx: under a proxy, where our own transport steps aside.

    The first ``skip`` bytes are passed over; ``surplus`` says that more may follow than the buffer takes.
    """
    position = 0
    async for piece in response.aiter_raw():
        chunk = piece[skip:]
        skip -= len(piece) - len(chunk)
        if position + len(chunk) > len(buffer):
            if not surplus:
                raise _misbehaves(response, "sent more bytes than were asked for")
            chunk = chunk[: len(buffer) - position]
        buffer[position : position + len(chunk)] = chunk
        position += len(chunk)
        progress(len(chunk))
    return position


def _check_range(response: httpx.Response, start: int, stop: int, size: int | None) -> bool:
    """Raise unless the answer is about the bytes that were asked for (RFC 9110, section 14.4) or all of the object.

    Tell whether it is all of the object, ``size`` bytes, of which a part was asked for.
    """
    length = response.headers.get("content-length")
    if response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
        if match is None or (int(match[1]), int(match[2])) != (start, stop - 1):
            raise _misbehaves(response, "answered with another range than was asked for")
        return False
    if size is not None and length == str(size) and stop <= size:
        if stop - start < size and size > WHOLE_AT_MOST:
            raise _sends_all(str(response.request.url))
        return True
    if start != 0 or length not in (None, str(stop)):
        raise _misbehaves(response, "does not serve ranges")
    return False


def _sends_all(url: str) -> BrokenError:
    return BrokenError(
        f"{server_of(url)} sends whole objects where parts of them are asked for, and this one is large.",
        hint="Choose a --part-size of at least the file's size (memory grows to it), or tell the archive's operators.",
    )


def _misbehaves(response: httpx.Response, what: str) -> BrokenError:
    host = server_of(str(response.request.url))
    return BrokenError(f"{host} {what}.", hint="Tell the archive's operators.", advice=RETRY)


def _refused(response: httpx.Response, body: bytes, method: str) -> ConnectorError:
    status, host = response.status_code, server_of(str(response.request.url))
    wait = retry_after(dict(response.headers), datetime.fromtimestamp(time.time(), UTC))
    message = f"{host} answered {status} to a {method} of a part."
    if method == "PUT" and status == 404 and b"NoSuchUpload" in body:
        return RefusedError(
            f"{host} does not know the upload any more.",
            hint="Run the same command again.",
            status=status,
            exception_id="NoSuchUpload",
        )
    # S3 says 403 AccessDenied or 400 ExpiredToken for a URL that has run out; a staged copy that was cleaned away is a
    # 404, and asking for a new URL stages it again.
    if status in (401, 403, 404) or (status == 400 and _EXPIRED.search(body)):
        return UrlRefusedError(
            message, hint="The address was renewed and refused again: tell the archive.", advice=RENEW, status=status
        )
    if status in (408, 425, 429, 500, 502, 503, 504):
        return OverloadedError(
            message,
            hint="The storage is busy or down; try again later.",
            advice=RetryPolicy(again=True, after=wait or None),
        )
    if status == 507:
        hint = "Tell the archive's operators. When there is room, run the same command again: what was sent is kept."
        return RefusedError(f"{host} has no room left for a part.", hint=hint, status=status)
    if status == 416:
        return IntegrityError(f"{host} has fewer bytes of the file than the archive says.", hint="Tell the archive.")
    return RefusedError(message, hint="Tell the archive's operators.", status=status)

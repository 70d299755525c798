"""The storage behind the presigned URLs: what an S3 server would do for them, over the filesystem provider."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator, Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import attrs
import trio

from connector.adapters.local_spans import LocalObject, LocalSpan, find_local_object
from connector.archive.request_guard import ClientDisconnected, Send
from connector.archive.routes.answers import NO_ROOM
from connector.parts import MAX_PART_SIZE
from persistence.errors import (
    BucketNotFound,
    DigestMismatch,
    InvalidName,
    NotFound,
    ObjectNotFound,
    PersistenceError,
    SignatureExpired,
    SignatureRefused,
    StorageFull,
    TooLarge,
    Unavailable,
    UploadNotFound,
)
from persistence.objects.filesystem import FilesystemStorage, SignedRequest
from persistence.objects.signing import content_disposition

_log = logging.getLogger(__name__)

_PIECE = 4 * 1024**2
"""Bytes that the provider hands to a thread at once."""
_SEND_PIECE = 512 * 1024
"""Bytes of one message of a response: more fit worse into the processor's caches, fewer cost more calls."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

_FAILURES: Sequence[tuple[type[PersistenceError], int, str]] = (
    (SignatureExpired, 403, "AccessDenied"),
    (SignatureRefused, 403, "SignatureDoesNotMatch"),
    (BucketNotFound, 404, "NoSuchBucket"),
    (ObjectNotFound, 404, "NoSuchKey"),
    (UploadNotFound, 404, "NoSuchUpload"),
    (NotFound, 404, "NoSuchKey"),
    (DigestMismatch, 400, "BadDigest"),
    (InvalidName, 400, "InvalidArgument"),
    (TooLarge, 400, "EntityTooLarge"),
    (StorageFull, 507, "InsufficientStorage"),
    (Unavailable, 503, "ServiceUnavailable"),
)
"""How S3 words the errors of the provider: the first class that fits counts."""


@attrs.frozen
class _Call:
    """One request to the storage."""

    scope: Any
    receive: Any
    send: Send

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    def header(self, name: bytes) -> str | None:
        return next((v.decode("latin-1") for n, v in self.scope["headers"] if n.lower() == name), None)

    async def answer(self, status: int, headers: dict[str, str], body: bytes = b"", *, more: bool = False) -> None:
        if not more:
            headers = {**headers, "Content-Length": str(len(body))}
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        if not more:
            await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{escape(message)}</Message>'
            f"<Resource>{escape(self.path)}</Resource></Error>"
        )
        await self.answer(status, {"Content-Type": "application/xml", **(headers or {})}, body.encode())


class StorageApp:
    """An ASGI application that answers presigned GETs and PUTs."""

    def __init__(self, storage: FilesystemStorage) -> None:
        self._storage = storage

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Answer one request."""
        call = _Call(scope, receive, send)
        try:
            await self._dispatch(call)
        except ClientDisconnected:
            pass  # nobody is left to tell
        except PersistenceError as error:
            status, code = next(
                ((status, code) for kind, status, code in _FAILURES if isinstance(error, kind)), (500, "InternalError")
            )
            message = "Request has expired" if isinstance(error, SignatureExpired) else error.message
            if status >= 500:
                _log.error("%s %s failed: %s", call.method, call.path, error)
                message = NO_ROOM if isinstance(error, StorageFull) else "The storage has a problem."
            await call.refuse(status, code, message, {"Retry-After": "5"} if status == 503 else None)

    async def _dispatch(self, call: _Call) -> None:
        if call.method not in ("GET", "PUT"):
            return await call.refuse(405, "MethodNotAllowed", f"{call.method} is not allowed here.")
        query = dict(parse_qsl(call.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        content_md5 = call.header(b"content-md5")
        wanted = self._storage.signing.verify(call.method, call.path, query, content_md5=content_md5)
        if call.method == "GET":
            return await self._get(call, wanted)
        return await self._put(call, wanted)

    async def _get(self, call: _Call, wanted: SignedRequest) -> None:
        found = await find_local_object(self._storage, wanted.bucket, wanted.object_id)
        headers = {
            "Content-Type": "binary/octet-stream",
            "Accept-Ranges": "bytes",
            "ETag": f'"{found.etag}"',
            "Last-Modified": formatdate(found.modified, usegmt=True),
        }
        if wanted.file_name is not None:
            headers["Content-Disposition"] = content_disposition(wanted.file_name)
        match = call.header(b"if-match")
        if match is not None and match.strip() not in ("*", headers["ETag"]):
            return await call.refuse(412, "PreconditionFailed", "The object has another ETag.")
        span = read_range(call.header(b"range"), found.size)
        if span is None:
            unmet = {"Content-Range": f"bytes */{found.size}"}
            return await call.refuse(416, "InvalidRange", "The requested range is not satisfiable", unmet)
        start, stop, partial = span
        headers["Content-Length"] = str(stop - start)
        if partial:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
        await self._send_content(call, found, start, stop, 206 if partial else 200, headers)

    async def _send_content(
        self, call: _Call, found: LocalObject, start: int, stop: int, status: int, headers: dict[str, str]
    ) -> None:
        spans = found.spans(start, stop)
        # Opened before the answer begins: what is deleted from now on can still be read to its end.
        descriptors: list[int] = []
        try:
            for span in spans:
                descriptors.append(await trio.to_thread.run_sync(os.open, span.path, os.O_RDONLY | os.O_CLOEXEC))
            await call.answer(status, headers, more=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_disconnected, call.receive, nursery.cancel_scope)
                for descriptor, span in zip(descriptors, spans, strict=True):
                    await self._send_span(call, descriptor, span)
                nursery.cancel_scope.cancel()
            await call.send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    async def _send_span(self, call: _Call, descriptor: int, span: LocalSpan) -> None:
        buffer = memoryview(bytearray(min(_SEND_PIECE, span.size)))
        position = span.start
        while position < span.stop:
            piece = buffer[: span.stop - position]
            # Without a thread, as long as the page cache has it.
            count = _read_cached(descriptor, piece, position) or await trio.to_thread.run_sync(
                os.preadv, descriptor, [piece], position
            )
            if not count:
                raise ClientDisconnected("the file is shorter than its record says")
            # Hypercorn copies it before it returns.
            await call.send({"type": "http.response.body", "body": piece[:count], "more_body": True})
            position += count

    async def _put(self, call: _Call, wanted: SignedRequest) -> None:
        if int(call.header(b"content-length") or 0) > MAX_PART_SIZE:
            return await call.refuse(400, "EntityTooLarge", f"At most {MAX_PART_SIZE} bytes are accepted.")
        content = read_content(call.receive)
        if wanted.upload_id is None:
            stat = await self._storage.put_object(wanted.bucket, wanted.object_id, content)
            etag = stat.etag
        else:
            assert wanted.part_number is not None  # signed together with the upload id
            part = await self._storage.put_part(
                wanted.bucket, wanted.object_id, wanted.upload_id, wanted.part_number, content, md5=wanted.md5
            )
            etag = part.etag
        return await call.answer(200, {"ETag": f'"{etag}"'})


def _read_cached(descriptor: int, buffer: memoryview, position: int) -> int:
    """Read what the page cache has at a position of a file; 0 where it has nothing or the system cannot tell."""
    try:
        return os.preadv(descriptor, [buffer], position, os.RWF_NOWAIT)
    except (OSError, AttributeError):
        return 0


async def _until_disconnected(receive: Any, scope: trio.CancelScope) -> None:
    """Cancel what sends to a client that is gone: the server discards it and would have the file read to its end."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def read_range(header: str | None, size: int) -> tuple[int, int, bool] | None:
    """The bytes that a Range header asks of ``size``: start, stop, and whether it is a part; ``None`` if it cannot be.

    As RFC 9110, section 14.2 allows, several ranges and other units are passed over.
    """
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return 0, size, False
    first, last = match.groups()
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return 0, size, False
    return (start, stop, True) if start < stop else None


async def read_content(receive: Any) -> AsyncIterator[bytes]:
    """The body of a request in pieces of 4 MiB, each good until the next is asked for.

    Raises :class:`~connector.archive.request_guard.ClientDisconnected` if the client hangs up before the end.
    """
    buffer = memoryview(bytearray())
    filled = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected("the client hung up in the middle of a body")
        more = message.get("more_body", False)
        data = memoryview(message.get("body", b""))
        if not more and not filled and len(data) <= _PIECE:
            yield data  # type: ignore[misc]
            return
        while data:
            if not buffer:
                buffer = memoryview(bytearray(_PIECE))
            count = min(len(data), _PIECE - filled)
            buffer[filled : filled + count] = data[:count]
            data = data[count:]
            filled += count
            if filled == _PIECE:
                yield buffer  # type: ignore[misc]
                filled = 0
    if filled:
        yield buffer[:filled]  # type: ignore[misc]

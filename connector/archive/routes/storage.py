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
from connector.archive.connections import ZERO_COPY_SEND, ClientGone, Send
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
_SEND_PIECE = 1024**2
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
        except ClientGone:
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
            for descriptor, span in zip(descriptors, spans, strict=True):
                await self._send_span(call, descriptor, span)
            await call.send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    async def _send_span(self, call: _Call, descriptor: int, span: LocalSpan) -> None:
        if ZERO_COPY_SEND in call.scope.get("extensions", {}):
            return await call.send(
                {
                    "type": ZERO_COPY_SEND,
                    "file": descriptor,
                    "offset": span.start,
                    "count": span.size,
                    "more_body": True,
                }
            )
        position = span.start
        while position < span.stop:
            size = min(_SEND_PIECE, span.stop - position)
            piece = await trio.to_thread.run_sync(os.pread, descriptor, size, position)
            if not piece:
                raise ClientGone("the file is shorter than its record says")
            await call.send({"type": "http.response.body", "body": piece, "more_body": True})
            position += len(piece)
        return None

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

    Raises :class:`~connector.archive.connections.ClientGone` if the client hangs up before the end.
    """
    buffer = memoryview(bytearray())
    filled = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client hung up in the middle of a body")
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

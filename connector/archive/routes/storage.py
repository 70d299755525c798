"""The storage behind the presigned URLs: a small part of S3's API, over the filesystem provider."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from email.utils import formatdate
from io import FileIO
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from connector.archive.request_guard import Send
from connector.archive.routes.answers import EXHAUSTED, NO_ROOM, announced_length
from connector.parts import S3_MAX_PART_SIZE
from connector.transfer.reporting import is_bug
from persistence import errors
from persistence.objects.filesystem import FilesystemStorage, SignedRequest
from persistence.objects.signing import content_disposition
from persistence.objects.values import ObjectStat, PartStat

_log = logging.getLogger(__name__)

_SEND_PIECE = 512 * 1024
"""Bytes of one message of a response: more fit worse into the processor's caches, fewer cost more calls."""
_READ_PIECE = 2 * 1024**2
"""Bytes that are read from a disk at once, and held for each slow client."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

_FAILURES: Sequence[tuple[type[Exception] | tuple[type[Exception], ...], int, str]] = (
    (errors.SignatureExpired, 403, "AccessDenied"),
    (errors.SignatureRefused, 403, "SignatureDoesNotMatch"),
    (errors.BucketNotFound, 404, "NoSuchBucket"),
    (errors.ObjectNotFound, 404, "NoSuchKey"),
    (errors.UploadNotFound, 404, "NoSuchUpload"),
    (FileNotFoundError, 404, "NoSuchKey"),  # deleted since it was looked up
    (errors.DigestMismatch, 400, "BadDigest"),
    (errors.InvalidName, 400, "InvalidArgument"),
    (errors.InvalidValue, 400, "InvalidDigest"),  # of the Content-MD5 header
    (errors.TooLarge, 400, "EntityTooLarge"),
    (errors.StorageFull, 507, "InsufficientStorage"),
    (errors.Unavailable, 503, "ServiceUnavailable"),
    (errors.CredentialsRefused, 503, "ServiceUnavailable"),
    (EXHAUSTED, 503, "ServiceUnavailable"),
)
"""Status and code of S3 for the errors of the provider; the first class that matches counts."""


class StorageApp:
    """An ASGI application that serves presigned GETs and PUTs.

    Args:
        storage: The storage behind them.
        path: The path of the server below which they are.
        refresh_keys: Reads the keys of their signatures again.
    """

    def __init__(self, storage: FilesystemStorage, path: str, refresh_keys: Callable[[], Awaitable[None]]) -> None:
        self._storage = storage
        self._path = path
        self._refresh_keys = refresh_keys

    def serves(self, path: str) -> bool:
        """Whether a request's path is one of this storage's URLs."""
        return path.startswith(f"{self._path}/")

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        with ExitStack() as files:
            try:
                response = await self._respond(request, files)
            except ClientDisconnect:
                return
            except Exception as error:
                response = _error_response(request, error)
            try:
                await response(scope, receive, send)
            except (EOFError, OSError, MemoryError, RuntimeError) as error:
                # The response has begun: all that is left is to end it early, which Hypercorn does by closing.
                _raise_bug(error)
                _log.error("%s %s broke off: %s", request.method, scope["path"], error)

    async def _respond(self, request: Request, files: ExitStack) -> Response:
        if request.method not in ("GET", "PUT"):
            return _refusal(request, 405, "MethodNotAllowed", f"{request.method} is not allowed here.")
        wanted = await self._verify(request)
        if request.method == "GET":
            return await self._get(request, wanted, files)
        return await self._put(request, wanted)

    async def _verify(self, request: Request) -> SignedRequest:
        # Not by `request.url`, which is made of the Host header, and fails where that is no host.
        query = dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        content_md5 = request.headers.get("content-md5")
        path = request.scope["path"].removeprefix(self._path)
        try:
            return self._storage.signing.verify(request.method, path, query, content_md5=content_md5)
        except errors.SignatureRefused:
            # Another process may have signed it with a key that is new.
            await self._refresh_keys()
            return self._storage.signing.verify(request.method, path, query, content_md5=content_md5)

    async def _get(self, request: Request, wanted: SignedRequest, files: ExitStack) -> Response:
        async for _ in request.stream():
            pass  # to its end: Starlette receives nothing but the disconnect while it sends
        found, find_spans = await self._storage.local_files(wanted.bucket, wanted.object_id)
        headers = {
            "Content-Type": "binary/octet-stream",
            "Accept-Ranges": "bytes",
            "ETag": f'"{found.etag}"',
            "Last-Modified": formatdate(found.modified.timestamp(), usegmt=True),
        }
        if wanted.file_name is not None:
            headers["Content-Disposition"] = content_disposition(wanted.file_name)
        match = request.headers.get("if-match")
        if match is not None and match.strip() not in ("*", headers["ETag"]):
            return _refusal(request, 412, "PreconditionFailed", "The object has another ETag.")
        is_same = request.headers.get("if-range", headers["ETag"]).strip() in (
            headers["ETag"],
            headers["Last-Modified"],
        )
        wanted_range = read_range(request.headers.get("range") if is_same else None, found.size)
        if wanted_range is None:
            unmet = {"Content-Range": f"bytes */{found.size}"}
            return _refusal(request, 416, "InvalidRange", "The requested range is not satisfiable", unmet)
        start, stop, partial = wanted_range
        headers["Content-Length"] = str(stop - start)
        if partial:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
        spans = []
        for path, first, last in find_spans(start, stop):
            # Opened before the response begins: an object that is deleted from now on can still be read to its end.
            file = files.enter_context(await trio.to_thread.run_sync(FileIO, path))
            spans.append((file, first, last))
        return StreamingResponse(_read_spans(spans), 206 if partial else 200, headers)

    async def _put(self, request: Request, wanted: SignedRequest) -> Response:
        if announced_length(request) > S3_MAX_PART_SIZE:
            raise _too_large()
        content = read_content(request.stream())
        stored: ObjectStat | PartStat
        if wanted.upload_id is None:
            stored = await self._storage.put_object(wanted.bucket, wanted.object_id, content)
        else:
            assert wanted.part_number is not None  # signed together with the upload id
            stored = await self._storage.put_part(
                wanted.bucket, wanted.object_id, wanted.upload_id, wanted.part_number, content, md5=wanted.md5
            )
        return Response(headers={"ETag": f'"{stored.etag}"'})


def _refusal(request: Request, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{escape(message)}</Message>'
        f"<Resource>{escape(request.scope['path'])}</Resource></Error>"
    )
    return Response(body, status, {"Content-Type": "application/xml", **(headers or {})})


def _too_large() -> errors.TooLarge:
    return errors.TooLarge(f"At most {S3_MAX_PART_SIZE} bytes are accepted.")


def _error_response(request: Request, error: Exception) -> Response:
    _raise_bug(error)
    status, code = next(
        ((status, code) for kind, status, code in _FAILURES if isinstance(error, kind)), (500, "InternalError")
    )
    message = error.message if isinstance(error, errors.PersistenceError) else "The object is gone."
    if isinstance(error, errors.SignatureExpired):
        message = "Request has expired"
    if status >= 500:
        _log.error("%s %s failed: %s", request.method, request.scope["path"], error)
        message = NO_ROOM if isinstance(error, errors.StorageFull) else "The storage has a problem."
    return _refusal(request, status, code, message, {"Retry-After": "5"} if status == 503 else None)


def _raise_bug(error: Exception) -> None:
    """Raise an error of the interpreter that is not caused by this machine."""
    if is_bug(error) and not isinstance(error, EOFError):
        raise error


async def _read_spans(spans: Sequence[tuple[FileIO, int, int]]) -> AsyncIterator[bytes | memoryview]:
    """The content of spans of open files, cached bytes in one buffer: Hypercorn copies that before it returns."""
    buffer = memoryview(bytearray(_SEND_PIECE))
    for file, position, stop in spans:
        while position < stop:
            piece: bytes | memoryview = buffer[: _read_cached(file, buffer[: stop - position], position)]
            # In a thread only what has to be read from the disk. It costs more than a copy, so it reads more at once.
            if not piece:
                size = min(_READ_PIECE, stop - position)
                piece = await trio.to_thread.run_sync(_read, file, position, size)
            if not piece:
                raise EOFError(f"The file {file.name} is shorter than its record says.")
            yield piece
            position += len(piece)


def _read(file: FileIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _read_cached(file: FileIO, buffer: memoryview, position: int) -> int:
    """Read what the page cache has at a position of a file; 0 where it has nothing or the system cannot tell."""
    if sys.platform == "linux":
        with suppress(OSError):
            return os.preadv(file.fileno(), [buffer], position, os.RWF_NOWAIT)
    return 0


def read_range(header: str | None, size: int) -> tuple[int, int, bool] | None:
    """Return the bytes that a Range header asks for: start, stop, whether that is a part; `None` if unsatisfiable.

    Several ranges, and units other than bytes, are ignored, as RFC 9110, section 14.2 allows.
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


async def read_content(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of a request body, up to the size that a part may have; `TooLarge`."""
    total = 0
    async for piece in body:
        total += len(piece)
        if total > S3_MAX_PART_SIZE:
            raise _too_large()
        yield piece

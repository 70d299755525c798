"""Senders for presigned URLs: over the network, or within the process for storages without a server."""

from __future__ import annotations

import http.client
import re
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio.to_thread

from persistence.errors import DigestMismatch, NotFound, SignatureExpired, SignatureRefused
from persistence.objects.multipart import check_digest
from persistence.objects.protocol import ObjectStorage
from persistence.objects.signing import SignedRequest, UrlSigner, content_disposition
from persistence.objects.values import PresignedPost
from persistence.testing.harness import Answer

_DEADLINE: Final = 30.0


class NetworkSender:
    """Sends requests with the standard library's client, each on a connection of its own."""

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request and return the answer."""
        return await anyio.to_thread.run_sync(_send, method, url, dict(headers or {}), body)

    async def post(self, form: PresignedPost, content: bytes) -> Answer:
        """Post a form as multipart/form-data."""
        boundary = secrets.token_hex(16)
        lines = []
        for name, value in form.fields.items():
            lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n')
        lines.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = "".join(lines).encode() + content + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return await self.send("POST", form.url, headers=headers, body=body)


class SignedGateway:
    """Answers requests to the URLs of a `UrlSigner` from its storage, as an S3 server would."""

    def __init__(self, storage: ObjectStorage, signer: UrlSigner) -> None:
        self._storage = storage
        self._signer = signer

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Verify the request and execute it."""
        parts = urlsplit(url)
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        try:
            signed = self._signer.verify(
                method, unquote(parts.path), dict(parse_qsl(parts.query)), content_md5=lower.get("content-md5")
            )
            return await (self._get(signed, lower) if method == "GET" else self._put(signed, body))
        except (SignatureRefused, SignatureExpired) as error:
            return Answer(403, {}, str(error).encode())
        except NotFound as error:
            return Answer(404, {}, str(error).encode())
        except DigestMismatch as error:
            return Answer(400, {}, str(error).encode())

    async def post(self, form: PresignedPost, content: bytes) -> Answer:
        """Verify the form and store its content."""
        try:
            signed = self._signer.verify_post(urlsplit(form.url).path, form.fields)
        except (SignatureRefused, SignatureExpired) as error:
            return Answer(403, {}, str(error).encode())
        if signed.max_size is not None and len(content) > signed.max_size:
            return Answer(400, {}, b"EntityTooLarge")
        await self._storage.put_object(signed.bucket, signed.object_id, content)
        return Answer(204, {}, b"")

    async def _get(self, signed: SignedRequest, headers: Mapping[str, str]) -> Answer:
        stat = await self._storage.stat(signed.bucket, signed.object_id)
        found = {"etag": f'"{stat.etag}"'}
        if signed.file_name is not None:
            found["content-disposition"] = content_disposition(signed.file_name)
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
        start, stop = (int(span[1]), min(int(span[2]) + 1, stat.size)) if span else (0, stat.size)
        body = bytearray(stop - start)
        await self._storage.read_into(signed.bucket, signed.object_id, start, memoryview(body))
        if span:
            found["content-range"] = f"bytes {start}-{stop - 1}/{stat.size}"
        return Answer(206 if span else 200, found, bytes(body))

    async def _put(self, signed: SignedRequest, body: bytes) -> Answer:
        if signed.upload_id is not None and signed.part_number is not None:
            part = await self._storage.put_part(
                signed.bucket, signed.object_id, signed.upload_id, signed.part_number, body, md5=signed.md5
            )
            return Answer(200, {"etag": f'"{part.etag}"'}, b"")
        stat = await self._storage.put_object(signed.bucket, signed.object_id, body)
        check_digest(stat.etag, signed.md5, what=f"object {signed.object_id!r}")
        return Answer(200, {"etag": f'"{stat.etag}"'}, b"")


def _send(method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_DEADLINE)
    try:
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method, target, body=body or None, headers=headers)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()

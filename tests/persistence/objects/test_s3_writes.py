"""What the S3 provider writes: metadata of copies, conditional writes, and uploads of more than one page of parts."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from uuid import uuid4

import attrs
import pytest

from persistence.errors import NotSupported
from persistence.objects.s3 import S3Settings, S3Storage
from persistence.objects.s3.settings import connect
from persistence.objects.values import Data
from persistence.testing.servers import S3Endpoint
from persistence.testing.servers.cleaning import settings_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MIB = 1024**2
PUT_BY_OTHERS: dict[str, Any] = {
    "ContentType": "text/x-other", "ContentDisposition": "attachment", "CacheControl": "no-cache",
    "Metadata": {"sample": "a-1"},
}  # fmt: skip


async def test_copies_keep_what_other_programs_have_set(s3: S3Endpoint) -> None:
    settings = attrs.evolve(settings_of(s3), max_copy_size=5 * MIB, copy_part_size=5 * MIB, part_size=5 * MIB)
    client: Any = connect(settings)[0]
    bucket = f"kept-{uuid4().hex[:8]}"
    async with S3Storage(settings) as storage:
        await storage.create_bucket(bucket)
        client.put_object(Bucket=bucket, Key="small", Body=b"0123456789", **PUT_BY_OTHERS)
        client.put_object(Bucket=bucket, Key="large", Body=bytes(11 * MIB), **PUT_BY_OTHERS)
        for source, target, span in [
            ("small", "whole", None), ("small", "range", (2, 6)), ("small", "small", None), ("large", "parts", None),
            ("large", "range-of-parts", (MIB, 10 * MIB)), ("large", "large", None),
        ]:  # fmt: skip
            await storage.copy_object(bucket, source, to_bucket=bucket, to_object_id=target, byte_range=span)
            head = client.head_object(Bucket=bucket, Key=target)
            assert {name: head.get(name) for name in PUT_BY_OTHERS} == PUT_BY_OTHERS, target


async def test_parts_beyond_one_page_are_listed(s3: S3Endpoint) -> None:
    settings = settings_of(s3)
    bucket = f"pages-{uuid4().hex[:8]}"
    async with S3Storage(settings) as storage:
        await storage.create_bucket(bucket)
        upload = await storage.start_upload(bucket, "object")
        client: Any = connect(settings)[0]
        for number in range(1, 1051):
            client.upload_part(Bucket=bucket, Key="object", UploadId=upload, PartNumber=number, Body=b"x")
        for first, limit in [(1, None), (1, 1000), (1, 1001), (999, 3), (40, 1005), (1050, 1), (1000, None)]:
            parts = await storage.list_parts(bucket, "object", upload, first=first, limit=limit)
            last = 1050 if limit is None else min(1050, first + limit - 1)
            assert [part.number for part in parts] == list(range(first, last + 1))


class OldServer(BaseHTTPRequestHandler):
    """Ignores If-None-Match, as servers do that do not know it, and notes the requests that write."""

    protocol_version = "HTTP/1.1"
    written: ClassVar[list[tuple[str, str, int]]] = []

    def do_HEAD(self) -> None:
        self.answer(200 if self.path.count("/") == 1 else 404, b"")

    def do_PUT(self) -> None:
        self.note()
        self.answer(200, b"")

    def do_POST(self) -> None:
        self.note()
        kind = "InitiateMultipartUploadResult" if self.path.endswith("uploads") else "CompleteMultipartUploadResult"
        self.answer(200, f"<{kind}><UploadId>upload</UploadId></{kind}>".encode())

    def do_DELETE(self) -> None:
        self.answer(204, b"")

    def note(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(size)
        self.written.append((self.command, self.path.partition("?")[0], size))

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"0"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def old_server() -> Iterator[S3Settings]:
    OldServer.written.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), OldServer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield S3Settings(f"http://127.0.0.1:{server.server_port}", "key", "secret", part_size=4, deadline=30)
        server.shutdown()
        thread.join()


async def stream(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"1234"


def of_the_object() -> list[tuple[str, str, int]]:
    return [note for note in OldServer.written if note[1] == "/bucket/object"]


async def test_nothing_is_sent_to_a_server_that_would_overwrite(old_server: S3Settings) -> None:
    async with S3Storage(old_server) as storage:
        contents: list[Data] = [b"1234", stream(1), stream(3)]
        for content in contents:
            with pytest.raises(NotSupported):
                await storage.put_object("bucket", "object", content, overwrite=False)
        assert of_the_object() == []
        # It was tried once, with an object of another name that is empty.
        assert {size for _, path, size in OldServer.written if "probe" in path and not size} == {0}
        assert len(OldServer.written) == 5


@pytest.mark.parametrize(("declared", "sent"), [("none", set()), ("put", {"4"}), ("all", {"4", "parts"})])
async def test_settings_declare_what_is_not_tried(old_server: S3Settings, declared: Any, sent: set[str]) -> None:
    async with S3Storage(attrs.evolve(old_server, conditional_writes=declared)) as storage:
        named: dict[str, Data] = {"4": b"1234", "parts": stream(3)}
        for name, content in named.items():
            OldServer.written.clear()
            try:
                await storage.put_object("bucket", "object", content, overwrite=False)
            except NotSupported:
                assert name not in sent
            except Exception:  # the server has no objects to be asked for afterwards
                pass
            assert bool(of_the_object()) is (name in sent)
            assert not any(re.search("probe", path) for _, path, _ in OldServer.written)

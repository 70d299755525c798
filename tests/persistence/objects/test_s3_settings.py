"""What the settings of the S3 provider do: copies in parts, certificates of one's own."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
import trustme

from persistence.errors import StorageFull, Unavailable
from persistence.objects.s3 import S3Settings, S3Storage
from persistence.testing.servers import S3Endpoint

pytestmark = pytest.mark.anyio

MIB = 1024**2


@pytest.mark.parametrize("size", [5 * MIB, 11 * MIB + 5])
async def test_copies_above_the_limit_are_made_of_parts(s3: S3Endpoint, size: int) -> None:
    settings = S3Settings(
        s3.url, s3.access_key, s3.secret_key, max_copy_size=5 * MIB, copy_part_size=5 * MIB, min_part_size=5 * MIB
    )
    content = b"".join(number.to_bytes(4) for number in range(size // 4 + 1))[:size]
    bucket = f"copies-{uuid4().hex[:8]}"
    async with S3Storage(settings) as storage:
        await storage.create_bucket(bucket)
        try:
            await storage.put_object(bucket, "from", content)
            stat = await storage.copy_object(bucket, "from", to_bucket=bucket, to_object_id="to")
            assert stat.size == size
            # What is left of the second is too small to be a part of its own.
            assert stat.etag.endswith("-2") is (size > 5 * MIB)
            copied = bytearray(size)
            assert await storage.read_into(bucket, "to", 0, memoryview(copied)) == size
            assert copied == content
            assert await storage.list_uploads(bucket) == []
        finally:
            await storage.delete_bucket(bucket, with_content=True)


class OneAnswer(BaseHTTPRequestHandler):
    """Lists one bucket, and has no room for objects."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(
            200,
            b"<ListAllMyBucketsResult><Buckets><Bucket><Name>one</Name></Bucket></Buckets></ListAllMyBucketsResult>",
        )

    def do_HEAD(self) -> None:
        """Answer as JuiceFS does of an object that two calls have completed at once: without an ETag."""
        self.send_response(200)
        self.send_header("Last-Modified", "Sat, 28 Nov 2026 12:00:00 GMT")
        self.send_header("Content-Length", "7")
        self.end_headers()

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(507, b"<Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with ThreadingHTTPServer(("localhost", 0), OneAnswer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_a_certificate_of_ones_own_is_trusted(authority: trustme.CA, server: str, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with S3Storage(S3Settings(server, "key", "secret", ca_file=tmp_path / "ca.pem", deadline=30)) as storage:
        assert await storage.list_buckets() == ["one"]
        with pytest.raises(StorageFull):
            await storage.put_object("one", "object", b"content")


async def test_without_it_the_server_is_not_trusted(server: str) -> None:
    async with S3Storage(S3Settings(server, "key", "secret", deadline=30, attempts=1)) as storage:
        with pytest.raises(Unavailable, match="certificate"):
            await storage.list_buckets()


async def test_an_object_without_an_etag(authority: trustme.CA, server: str, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with S3Storage(S3Settings(server, "key", "secret", ca_file=tmp_path / "ca.pem", deadline=30)) as storage:
        stat = await storage.stat("one", "object")
        assert (stat.size, stat.etag) == (7, "")

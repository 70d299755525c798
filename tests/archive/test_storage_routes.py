from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from connector.archive.routes.storage import StorageApp, read_range
from persistence.objects.filesystem import FilesystemStorage, UrlSigner
from tests.support.memory_archive import ManualClock


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, (0, 100, False)),
        ("bytes=0-9", (0, 10, True)),
        ("bytes=0-0", (0, 1, True)),
        ("bytes=90-", (90, 100, True)),
        ("bytes=90-200", (90, 100, True)),
        ("bytes=-10", (90, 100, True)),
        ("bytes=-200", (0, 100, True)),
        ("bytes=99-99", (99, 100, True)),
        ("bytes=100-", None),
        ("bytes=500-600", None),
        ("bytes=-0", None),
        ("bytes=5-4", (0, 100, False)),
        ("bytes=0-1,5-6", (0, 100, False)),
        ("bytes=-", (0, 100, False)),
        ("bytes=a-b", (0, 100, False)),
        ("lines=0-9", (0, 100, False)),
        ("bytes=99999999999999999999-", (0, 100, False)),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int, bool] | None) -> None:
    assert read_range(header, 100) == expected


def messages(*pieces: bytes, end: bool = True) -> Any:
    queue: list[Any] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    queue.append({"type": "http.request", "body": b"", "more_body": False} if end else {"type": "http.disconnect"})

    async def receive() -> Any:
        if not queue:
            await trio.sleep_forever()  # the client stays connected
        return queue.pop(0)

    return receive


class Storage:
    """The storage application over a directory, called without a network."""

    def __init__(self, storage: FilesystemStorage, clock: ManualClock) -> None:
        self.storage = storage
        self.clock = clock
        self._app = StorageApp(storage, "", trio.lowlevel.checkpoint)

    async def call(
        self, method: str, url: str, *body: bytes, end: bool = True, on_start: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes, list[Any]]:
        parts = urlsplit(url)
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "method": method,
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": raw,
        }
        sent: list[Any] = []

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()
            if on_start is not None and not sent:
                await on_start()
            sent.append({**message, "body": bytes(message.get("body", b""))})  # what it holds may change from now on

        await self._app(scope, messages(*body, end=end), send)
        if not sent:
            return 0, {}, b"", sent
        answer = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], answer, b"".join(message["body"] for message in sent[1:]), sent


@asynccontextmanager
async def open_storage(path: Path) -> AsyncIterator[Storage]:
    clock = ManualClock(time.time())
    signer = UrlSigner("http://here/storage", b"secret-of-the-test-signer", clock)
    async with FilesystemStorage(path, signing=signer) as storage:
        await storage.create_bucket("inbox")
        yield Storage(storage, clock)


@pytest.mark.trio
class TestStorageApp:
    async def test_put_and_get_an_object(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            content = os.urandom(5 * 1024**2)
            url = await here.storage.presign_put("inbox", "one", expires=60)
            status, headers, _, _ = await here.call("PUT", url, content[:100], content[100:])
            assert (status, headers["etag"]) == (200, f'"{hashlib.md5(content).hexdigest()}"')
            url = await here.storage.presign_get("inbox", "one", expires=60, file_name="x.bin")
            status, headers, body, _ = await here.call("GET", url)
            assert (status, body) == (200, content)
            assert headers["content-length"] == str(len(content))
            assert headers["accept-ranges"] == "bytes"
            assert headers["content-disposition"] == 'attachment; filename="x.bin"'

    async def test_ranges_across_the_parts_of_an_object(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            parts = [os.urandom(5 * 1024**2), os.urandom(5 * 1024**2), os.urandom(10)]
            upload_id = await here.storage.start_upload("inbox", "one")
            for number, part in enumerate(parts, start=1):
                url = await here.storage.presign_part("inbox", "one", upload_id, number, expires=60)
                status, headers, _, _ = await here.call("PUT", url, part)
                assert (status, headers["etag"]) == (200, f'"{hashlib.md5(part).hexdigest()}"')
            await here.storage.complete_upload("inbox", "one", upload_id)
            whole = b"".join(parts)
            url = await here.storage.presign_get("inbox", "one", expires=60)
            for start, stop in [(0, 1), (5 * 1024**2 - 3, 10 * 1024**2 + 4), (10 * 1024**2, len(whole))]:
                status, headers, body, _ = await here.call("GET", url, range=f"bytes={start}-{stop - 1}")
                assert (status, body) == (206, whole[start:stop])
                assert headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
                assert headers["content-length"] == str(stop - start)

    async def test_a_client_that_disconnects_ends_the_reading(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            await here.storage.put_object("inbox", "one", bytes(5 * 1024**2))
            url = await here.storage.presign_get("inbox", "one", expires=60)
            with trio.fail_after(30):
                _, _, body, _ = await here.call("GET", url, end=False)
            assert len(body) < 5 * 1024**2

    async def test_an_object_that_is_deleted_is_sent_to_its_end(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            content = os.urandom(3 * 1024**2)
            await here.storage.put_object("inbox", "one", content)
            url = await here.storage.presign_get("inbox", "one", expires=60)
            _, _, body, _ = await here.call("GET", url, on_start=lambda: here.storage.delete_object("inbox", "one"))
            assert body == content

    async def test_an_unsatisfiable_range(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            await here.storage.put_object("inbox", "one", b"content")
            url = await here.storage.presign_get("inbox", "one", expires=60)
            status, headers, body, _ = await here.call("GET", url, range="bytes=7-")
            assert (status, headers["content-range"]) == (416, "bytes */7")
            assert b"<Code>InvalidRange</Code>" in body

    async def test_if_match(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            stat = await here.storage.put_object("inbox", "one", b"content")
            url = await here.storage.presign_get("inbox", "one", expires=60)
            assert (await here.call("GET", url, if_match=f'"{stat.etag}"'))[0] == 200
            assert (await here.call("GET", url, if_match='"other"'))[0] == 412

    async def test_a_range_of_another_version_is_the_whole_object(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            stat = await here.storage.put_object("inbox", "one", b"content")
            url = await here.storage.presign_get("inbox", "one", expires=60)
            for validator, status in (
                (f'"{stat.etag}"', 206),
                ('"other"', 200),
                ("Sat, 28 Nov 2026 00:00:00 GMT", 200),
            ):
                assert (await here.call("GET", url, range="bytes=0-1", if_range=validator))[0] == status

    async def test_content_has_the_md5_that_is_sent_along(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            upload_id = await here.storage.start_upload("inbox", "one")
            url = await here.storage.presign_part("inbox", "one", upload_id, 1, expires=60)
            right, wrong = (base64.b64encode(hashlib.md5(text).digest()).decode() for text in (b"content", b"other"))
            for sent, status in ((right, 200), (wrong, 400), ("AAAA", 400), ("not base64", 200)):
                assert (await here.call("PUT", url, b"content", content_md5=sent))[0] == status

    async def test_urls_expire(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            await here.storage.put_object("inbox", "one", b"content")
            url = await here.storage.presign_get("inbox", "one", expires=60)
            here.clock.now += 59
            assert (await here.call("GET", url))[0] == 200
            here.clock.now += 2
            status, headers, body, _ = await here.call("GET", url)
            assert (status, headers["content-type"]) == (403, "application/xml")
            assert b"<Code>AccessDenied</Code><Message>Request has expired</Message>" in body

    @pytest.mark.parametrize(
        ("method", "change"),
        [
            ("PUT", ("", "")),
            ("GET", ("one", "two")),
            ("GET", ("X-Amz-Expires=60", "X-Amz-Expires=61")),
            ("GET", ("X-Amz-Signature=", "X-Amz-Signature=0")),
            ("GET", ("X-Amz-Signature", "X-Amz-Sig")),
        ],
    )
    async def test_urls_are_good_for_one_thing_only(self, tmp_path: Path, method: str, change: tuple[str, str]) -> None:
        async with open_storage(tmp_path) as here:
            await here.storage.put_object("inbox", "one", b"content")
            url = await here.storage.presign_get("inbox", "one", expires=60)
            status, _, body, _ = await here.call(method, url.replace(*change), b"x")
            assert status == 403
            assert b"<Code>SignatureDoesNotMatch</Code>" in body

    async def test_what_is_not_there(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            url = await here.storage.presign_get("inbox", "none", expires=60)
            status, _, body, _ = await here.call("GET", url)
            assert (status, b"<Code>NoSuchKey</Code>" in body) == (404, True)
            url = await here.storage.presign_part("inbox", "none", "0" * 32, 1, expires=60)
            status, _, body, _ = await here.call("PUT", url, b"x")
            assert (status, b"<Code>NoSuchUpload</Code>" in body) == (404, True)
            url = await here.storage.presign_get("nowhere", "none", expires=60)
            status, _, body, _ = await here.call("GET", url)
            assert (status, b"<Code>NoSuchBucket</Code>" in body) == (404, True)

    async def test_other_methods_and_too_large_parts(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            url = await here.storage.presign_put("inbox", "one", expires=60)
            assert (await here.call("DELETE", url))[0] == 405
            status, _, body, _ = await here.call("PUT", url, content_length=str(5 * 1024**3 + 1))
            assert (status, b"EntityTooLarge" in body) == (400, True)

    async def test_half_a_body_leaves_nothing(self, tmp_path: Path) -> None:
        async with open_storage(tmp_path) as here:
            url = await here.storage.presign_put("inbox", "one", expires=60)
            status, _, _, _ = await here.call("PUT", url, os.urandom(5 * 1024**2), end=False)
            assert status == 0
            assert not await here.storage.object_exists("inbox", "one")
            assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

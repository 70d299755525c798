"""What holds for objects on disk beyond the suite: crashes, other processes, file names."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from persistence.errors import (
    ObjectChanged,
    ObjectNotFound,
    SignatureExpired,
    SignatureRefused,
    Unreachable,
    UploadNotFound,
)
from persistence.objects.filesystem import FilesystemStorage, UrlSigner
from persistence.objects.filesystem.file_names import bucket_of_folder, file_name, folder_name
from persistence.objects.filesystem.records import Extent, Record, read_record, write_record
from persistence.objects.values import now

pytestmark = pytest.mark.anyio

SIGNER = UrlSigner("https://archive.test/base/s3", b"a secret of the tests", time.time)


def open_storage(root: Path, **more: bool) -> FilesystemStorage:
    return FilesystemStorage(root, signing=SIGNER, min_part_size=4, **more)


def content_files(root: Path) -> list[Path]:
    return [path for path in (root / "buckets").glob("*/data/**/*") if path.is_file()]


async def multipart(storage: FilesystemStorage, *contents: bytes) -> None:
    upload = await storage.start_upload("bucket", "object")
    for number, content in enumerate(contents, 1):
        await storage.put_part("bucket", "object", upload, number, content)
    await storage.complete_upload("bucket", "object", upload)


async def test_no_content_is_left_behind(tmp_path: Path) -> None:
    async with open_storage(tmp_path, durable=True) as storage:
        await storage.create_bucket("bucket")
        await multipart(storage, b"1234", b"5678", b"9")
        assert len(content_files(tmp_path)) == 3
        await multipart(storage, b"abcd")
        upload = await storage.start_upload("bucket", "object")
        await storage.put_part("bucket", "object", upload, 1, b"1")
        await storage.put_part("bucket", "object", upload, 1, b"2")
        await storage.abort_upload("bucket", "object", upload)
        await storage.copy_object("bucket", "object", to_bucket="bucket", to_object_id="copy")
        await storage.put_object("bucket", "copy", b"new")
        assert len(content_files(tmp_path)) == 2
        await storage.delete_objects("bucket", ["object", "copy"])
        assert content_files(tmp_path) == []
        await storage.delete_bucket("bucket")
        assert list((tmp_path / "trash").iterdir()) == []


async def test_a_copy_whose_record_cannot_be_written_leaves_no_content(tmp_path: Path) -> None:
    """As on a disk that is full."""
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        await multipart(storage, b"1234", b"5678")
        (tmp_path / "buckets" / "bucket" / "objects" / file_name("copy")).mkdir()
        for span in (None, (1, 3)):
            with pytest.raises(Unreachable):
                await storage.copy_object("bucket", "object", to_bucket="bucket", to_object_id="copy", byte_range=span)
        assert len(content_files(tmp_path)) == 2


async def test_a_completion_that_crashed_goes_on(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        upload = await storage.start_upload("bucket", "object")
        await storage.put_part("bucket", "object", upload, 1, b"content")
        folder = tmp_path / "buckets" / "bucket" / "uploads" / upload
        os.rename(folder, f"{folder}.closing")  # as after a crash in the middle
        with pytest.raises(UploadNotFound):
            await storage.put_part("bucket", "object", upload, 2, b"late")
        assert (await storage.complete_upload("bucket", "object", upload)).size == 7
        with pytest.raises(UploadNotFound):
            await storage.complete_upload("bucket", "object", upload)


async def test_two_storages_on_one_root_see_the_same(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as one, open_storage(tmp_path) as two:
        await one.create_bucket("bucket")
        for number in range(20):
            content = str(number).encode() * number
            await one.put_object("bucket", "object", content)
            buffer = bytearray(100)
            count = await two.read_into("bucket", "object", 0, memoryview(buffer))
            assert buffer[:count] == content


async def test_the_files_with_the_bytes_of_a_multipart_object(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        await multipart(storage, b"1234", b"5678", b"9")
        stat, find_spans = await storage.local_files("bucket", "object")
        assert stat == await storage.stat("bucket", "object")
        for start in range(10):
            for stop in range(start, 10):
                found = [path.read_bytes()[first:last] for path, first, last in find_spans(start, stop)]
                assert b"".join(found) == b"123456789"[start:stop]
                assert all(found)
        with pytest.raises(ObjectNotFound):
            await storage.local_files("bucket", "none")


async def test_an_object_replaced_while_it_is_read(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        await storage.put_object("bucket", "object", b"x" * 3_000_000)
        async with storage.open_range("bucket", "object") as stream:
            await anext(stream)
            await storage.put_object("bucket", "object", b"new")
            with pytest.raises(ObjectChanged):
                async for _ in stream:
                    pass


async def test_readers_and_writers_at_once_see_whole_objects(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        await storage.put_object("bucket", "object", b"0" * 5000)

        async def write(digit: int) -> None:
            for _ in range(10):
                await storage.put_object("bucket", "object", str(digit).encode() * 5000)

        async def read() -> None:
            for _ in range(30):
                buffer = bytearray(5000)
                try:
                    assert await storage.read_into("bucket", "object", 0, memoryview(buffer)) == 5000
                except ObjectChanged:
                    continue
                assert len(set(buffer)) == 1

        async with anyio.create_task_group() as tasks:
            for digit in range(4):
                tasks.start_soon(write, digit)
                tasks.start_soon(read)
        assert len(content_files(tmp_path)) == 1


async def test_of_many_that_must_not_overwrite_one_wins(tmp_path: Path) -> None:
    wins: list[int] = []
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")

        async def put(number: int) -> None:
            from persistence.errors import ObjectExists

            try:
                await storage.put_object("bucket", "object", str(number).encode(), overwrite=False)
            except ObjectExists:
                return
            wins.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(put, number)
        assert len(wins) == 1
        assert len(content_files(tmp_path)) == 1


async def test_a_cancelled_stream_leaves_no_file(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000_000
            await anyio.sleep(0.001)

    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        with anyio.move_on_after(0.1):
            await storage.put_object("bucket", "object", endless())
        assert content_files(tmp_path) == []


def test_file_names_differ_on_any_file_system() -> None:
    ids = [
        "a",
        "A",
        "aa",
        "AA",
        "aA",
        "Aa",
        "con",
        "CON",
        "nul.txt",
        "x" * 255,
        "X" * 255,
        "x" * 254 + "y",
        "=".join(""),
    ]
    names = [file_name(object_id) for object_id in ids if object_id]
    assert len({name.lower() for name in names}) == len(names)
    assert all(len(name) <= 240 for name in names)
    assert file_name("con") != "con.json"


def test_folder_names_differ_on_any_file_system_and_lead_back_to_their_buckets() -> None:
    buckets = ["bucket", "a.bucket", "tenant:bucket", "Tenant:bucket", "T:b-1", "t:b-1", "con", "aux.x", "con:bucket"]
    names = [folder_name(bucket) for bucket in buckets]
    assert len({name.lower() for name in names}) == len(names)
    assert not any(set(name) & set('<>:"/\\|?*') for name in names)
    assert "con" not in names
    assert [bucket_of_folder(name) for name in names] == buckets


def test_spans_of_a_record(tmp_path: Path) -> None:
    record = Record("object", "etag", now(), (Extent("a", 3), Extent("b", 0), Extent("c", 4)))
    content = {"a": "012", "b": "", "c": "3456"}
    for start in range(8):
        for stop in range(start, 8):
            found = "".join(content[extent.file][first:last] for extent, first, last in record.spans(start, stop))
            assert found == "0123456"[start:stop]
    write_record(tmp_path / "record.json", record, durable=False)
    assert read_record(tmp_path / "record.json") == record


def test_urls_are_verified_with_the_base_path_or_without() -> None:
    url = SIGNER.sign("GET", "bucket", "object", expires=60)
    query = dict(pair.split("=") for pair in url.partition("?")[2].split("&"))
    for path in ("/base/s3/bucket/object", "/bucket/object", "bucket/object"):
        assert SIGNER.verify("GET", path, query).object_id == "object"
    for method, path in (("PUT", "/bucket/object"), ("GET", "/bucket/other"), ("GET", "/other/object"), ("GET", "/")):
        with pytest.raises(SignatureRefused):
            SIGNER.verify(method, path, query)
    for change in ({"X-Amz-Expires": "600"}, {"uploadId": "x"}, {"X-Amz-Signature": "é"}, {"X-Amz-Date": "never"}):
        with pytest.raises(SignatureRefused):
            SIGNER.verify("GET", "/bucket/object", {**query, **change})
    with pytest.raises(SignatureRefused):
        SIGNER.verify("GET", "/bucket/object", {})
    with pytest.raises(SignatureRefused):
        UrlSigner("https://archive.test", b"another secret of 16", time.time).verify("GET", "/bucket/object", query)
    late = UrlSigner("https://archive.test", b"a secret of the tests", lambda: time.time() + 61)
    with pytest.raises(SignatureExpired):
        late.verify("GET", "/bucket/object", query)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        UrlSigner("https://archive.test", b"short", time.time)

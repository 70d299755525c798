"""What killed processes leave in a folder of objects is settled and removed, and nothing else is."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from persistence.errors import BucketNotFound, ObjectNotFound, Unreachable, UploadNotFound
from persistence.objects.filesystem import FilesystemStorage, UrlSigner

pytestmark = pytest.mark.anyio

SIGNER = UrlSigner("https://archive.test/base/s3", b"a secret of the tests", time.time)


def open_storage(root: Path) -> FilesystemStorage:
    return FilesystemStorage(root, signing=SIGNER, min_part_size=4)


def files(root: Path) -> set[str]:
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return found - {"writers.lock"}


def uploads(root: Path) -> Path:
    return root / "buckets" / "bucket" / "uploads"


async def begin(storage: FilesystemStorage, object_id: str = "object") -> str:
    """An open upload of two parts."""
    upload = await storage.start_upload("bucket", object_id)
    for number in (1, 2):
        await storage.put_part("bucket", object_id, upload, number, b"part")
    return upload


async def read(storage: FilesystemStorage, object_id: str = "object") -> bytes:
    buffer = bytearray(100)
    return bytes(buffer[: await storage.read_into("bucket", object_id, 0, memoryview(buffer))])


async def new_run(root: Path) -> int:
    """What a process does that begins to work with the root: the bytes it freed."""
    async with open_storage(root) as storage:
        await storage.settle()
        return await storage.remove_leftovers()


async def test_a_completion_that_fails_leaves_the_upload_open(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        upload = await begin(storage)
        in_the_way = tmp_path / "buckets" / "bucket" / "objects" / "object.json"
        in_the_way.mkdir()  # the record cannot be written, as on a full disk
        with pytest.raises(Unreachable):
            await storage.complete_upload("bucket", "object", upload)
        in_the_way.rmdir()
        assert await storage.upload_exists("bucket", "object", upload)
        await storage.put_part("bucket", "object", upload, 3, b"more")
        assert (await storage.complete_upload("bucket", "object", upload)).size == 12


async def test_a_completion_that_crashed_can_be_aborted(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        empty = files(tmp_path)
        upload = await begin(storage)
        os.rename(uploads(tmp_path) / upload, uploads(tmp_path) / f"{upload}.closing")
        await storage.abort_upload("bucket", "object", upload)
        with pytest.raises(UploadNotFound):
            await storage.abort_upload("bucket", "object", upload)
        assert files(tmp_path) == empty


async def test_aborting_does_not_touch_the_object_that_was_made_of_the_parts(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        upload = await begin(storage)
        shutil.copytree(uploads(tmp_path) / upload, tmp_path / "copy")
        await storage.complete_upload("bucket", "object", upload)
        os.rename(tmp_path / "copy", uploads(tmp_path) / f"{upload}.closing")  # killed before the folder went
        await storage.abort_upload("bucket", "object", upload)
        assert await read(storage) == b"partpart"


@pytest.mark.parametrize("published", [False, True])
async def test_a_completion_that_crashed_is_settled(tmp_path: Path, published: bool) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        upload = await begin(storage)
        shutil.copytree(uploads(tmp_path) / upload, tmp_path / "copy")
        if published:
            await storage.complete_upload("bucket", "object", upload)
        else:
            shutil.rmtree(uploads(tmp_path) / upload)
        os.rename(tmp_path / "copy", uploads(tmp_path) / f"{upload}.closing")
    assert await new_run(tmp_path) == 0
    async with open_storage(tmp_path) as storage:
        assert await storage.upload_exists("bucket", "object", upload) is not published
        if not published:
            await storage.complete_upload("bucket", "object", upload)
        assert await read(storage) == b"partpart"
    assert os.listdir(uploads(tmp_path)) == []


async def test_leftovers_of_every_kind_are_removed_and_nothing_else(tmp_path: Path) -> None:
    bucket = tmp_path / "buckets" / "bucket"
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        await storage.put_object("bucket", "single", b"single")
        await storage.complete_upload("bucket", "multipart", await begin(storage, "multipart"))
        opened = await begin(storage, "open")
        good = files(tmp_path)

        aborted = await begin(storage, "aborted")
        os.rename(bucket / "uploads" / aborted, bucket / "uploads" / f"{aborted}.aborting")
        (bucket / "uploads" / f"{'0' * 32}.new").mkdir()
        (bucket / "uploads" / f"{'0' * 32}.new" / "upload.json").write_text("{}")
        (bucket / "uploads" / opened / ".0123.new").write_text("{")
        (bucket / "objects" / ".4567.new").write_text("{")
        (bucket / "data" / "ab").mkdir(exist_ok=True)
        (bucket / "data" / "ab" / ("ab" + "c" * 30)).write_bytes(b"cut short")
        (tmp_path / "trash" / "thrown-away").mkdir()
        (tmp_path / "trash" / "thrown-away" / "00001.json").write_bytes(b"x")
        made = tmp_path / "trash" / "of-another-process.new"
        (made / "objects").mkdir(parents=True)
        assert files(tmp_path) > good
    assert await new_run(tmp_path) == len(b"cut short")
    assert files(tmp_path) == good
    assert made.is_dir(), "another process is making a bucket of it"
    os.utime(made, (0, 0))
    await new_run(tmp_path)
    assert not made.exists()
    async with open_storage(tmp_path) as storage:
        assert await read(storage, "single") == b"single"
        assert await read(storage, "multipart") == b"partpart"
        await storage.complete_upload("bucket", "open", opened)
        with pytest.raises(ObjectNotFound):
            await read(storage, "aborted")


async def test_they_are_removed_beside_uploads_and_completions(tmp_path: Path) -> None:
    """What is written meanwhile has no name yet when the sweep comes by."""
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        earlier = [await begin(storage, f"earlier-{number}") for number in range(40)]
    async with open_storage(tmp_path) as storage:
        await storage.settle()

        async def sweep() -> None:
            for _ in range(30):
                assert await storage.remove_leftovers() == 0

        async def complete(number: int, upload: str) -> None:
            await storage.complete_upload("bucket", f"earlier-{number}", upload)
            await storage.complete_upload("bucket", f"new-{number}", await begin(storage, f"new-{number}"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sweep)
            for number, upload in enumerate(earlier):
                tasks.start_soon(complete, number, upload)
        for number in range(40):
            for kind in ("earlier", "new"):
                assert await read(storage, f"{kind}-{number}") == b"partpart"


async def test_nothing_is_removed_while_another_process_writes(tmp_path: Path) -> None:
    bucket = tmp_path / "buckets" / "bucket"
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        assert await storage.settle()
        upload = await begin(storage)
        os.rename(bucket / "uploads" / upload, bucket / "uploads" / f"{upload}.closing")
        (bucket / "data" / "ab").mkdir(exist_ok=True)
        (bucket / "data" / "ab" / ("ab" + "c" * 30)).write_bytes(b"not named yet")
        async with open_storage(tmp_path) as other:
            assert not await other.settle()
            assert await other.remove_leftovers() == 0
            (found,) = await other.list_uploads("bucket")
            assert found.upload_id == upload, "its completion may have been cut off"
    async with open_storage(tmp_path) as storage:
        assert await storage.settle()
        assert await storage.upload_exists("bucket", "object", upload)
        (bucket / "data" / "ab" / ("ab" + "d" * 30)).write_bytes(b"written by a process that came later")
        assert await storage.remove_leftovers() == len(b"not named yet")


async def test_content_without_a_name_is_found_where_no_process_can_be_writing_it(tmp_path: Path) -> None:
    data = tmp_path / "buckets" / "bucket" / "data" / "ab"
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        await storage.put_object("bucket", "single", b"single")
        await storage.complete_upload("bucket", "multipart", await begin(storage, "multipart"))
        closing = await begin(storage, "closing")
        os.rename(uploads(tmp_path) / closing, uploads(tmp_path) / f"{closing}.closing")
        await begin(storage, "open")
        assert await storage.unnamed_content("bucket") == []
        data.mkdir(exist_ok=True)
        stray = data / ("ab" + "c" * 30)
        stray.write_bytes(b"cut short")
        assert await storage.unnamed_content("bucket") == [stray]
        await storage.settle()
        assert await storage.unnamed_content("bucket") == [], "this process may be writing it"
        async with open_storage(tmp_path) as other:
            assert await other.unnamed_content("bucket") == []
            assert not await other.settle(), "this process still counts as one that writes"
    async with open_storage(tmp_path) as storage:
        assert await storage.unnamed_content("bucket") == [stray]
        with pytest.raises(BucketNotFound):
            await storage.unnamed_content("nothing")


async def test_a_part_whose_sender_goes_leaves_nothing(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        upload = await storage.start_upload("bucket", "object")
        before = files(tmp_path)
        with anyio.CancelScope() as scope:

            async def body() -> AsyncIterator[bytes]:
                yield b"x" * 1000
                scope.cancel()  # between the last byte and the entry of the part
                yield b"y"

            await storage.put_part("bucket", "object", upload, 1, body())
        assert files(tmp_path) == before

"""Faults at the last step of a durable write, when the record has its name and may yet be lost in a power cut.

What a record names is kept then, also if the call fails: no object is without its content.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from persistence.errors import Unreachable, UploadNotFound
from persistence.objects.filesystem import FilesystemStorage, UrlSigner
from persistence.objects.filesystem.content_files import ContentWriter
from persistence.objects.filesystem.disk import Disk
from persistence.objects.filesystem.uploads import Uploads
from persistence.objects.multipart import ExpectedParts, UploadKey
from persistence.objects.values import ObjectStat, PartStat

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="elsewhere no call syncs a folder"),
]

SIGNER = UrlSigner("https://archive.test", b"a secret of the tests", time.time)


def open_storage(root: Path) -> FilesystemStorage:
    return FilesystemStorage(root, signing=SIGNER, min_part_size=1, durable=True)


def content_files(root: Path) -> list[Path]:
    return [path for path in (root / "buckets").glob("*/data/**/*") if path.is_file()]


async def read(storage: FilesystemStorage, object_id: str) -> bytes:
    buffer = bytearray(100)
    return bytes(buffer[: await storage.read_into("bucket", object_id, 0, memoryview(buffer))])


@contextmanager
def failing(name: str, number: int) -> Iterator[None]:
    """Within the block a function of `os` fails for folders."""
    function = getattr(os, name)

    def fail(file: Any, *arguments: Any, **options: Any) -> Any:
        if stat.S_ISDIR((os.fstat if isinstance(file, int) else os.stat)(file).st_mode):
            raise OSError(number, os.strerror(number))
        return function(file, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


WRITES: dict[str, Callable[[FilesystemStorage], Awaitable[ObjectStat]]] = {
    "put": lambda storage: storage.put_object("bucket", "object", b"23"),
    "put a new one": lambda storage: storage.put_object("bucket", "new", b"23", overwrite=False),
    "copy": lambda storage: storage.copy_object("bucket", "source", to_bucket="bucket", to_object_id="object"),
    "copy a range": lambda storage: storage.copy_object(
        "bucket", "long", to_bucket="bucket", to_object_id="object", byte_range=(2, 4)
    ),
}


@pytest.mark.parametrize("write", WRITES)
async def test_an_object_whose_record_cannot_be_synced_has_its_content(tmp_path: Path, write: str) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        for object_id, data in (("object", b"old"), ("source", b"23"), ("long", b"01234")):
            await storage.put_object("bucket", object_id, data)
        with failing("fsync", errno.EIO), pytest.raises(Unreachable, match=os.strerror(errno.EIO)):
            await WRITES[write](storage)
        assert await read(storage, "new" if write == "put a new one" else "object") == b"23"


@pytest.mark.parametrize("write", WRITES)
async def test_without_descriptors_nothing_is_written(tmp_path: Path, write: str) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        for object_id, data in (("object", b"old"), ("source", b"23"), ("long", b"01234")):
            await storage.put_object("bucket", object_id, data)
        before = content_files(tmp_path)
        with failing("open", errno.EMFILE), pytest.raises(Unreachable, match=os.strerror(errno.EMFILE)):
            await WRITES[write](storage)
        assert await read(storage, "object") == b"old"
        assert not await storage.object_exists("bucket", "new")
        assert content_files(tmp_path) == before


async def test_a_part_whose_record_cannot_be_synced_has_its_content(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        upload = await storage.start_upload("bucket", "object")
        for part in (b"old", b"new"):
            with failing("fsync", errno.EIO), pytest.raises(Unreachable):
                await storage.put_part("bucket", "object", upload, 1, part)
        await storage.complete_upload("bucket", "object", upload)
        assert await read(storage, "object") == b"new"


@pytest.mark.parametrize("end", ["complete_upload", "abort_upload"])
async def test_a_completion_that_cannot_be_synced_keeps_the_parts(tmp_path: Path, end: str) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.create_bucket("bucket")
        upload = await storage.start_upload("bucket", "object")
        for number, part in enumerate((b"01", b"23"), 1):
            await storage.put_part("bucket", "object", upload, number, part)
        with failing("fsync", errno.EIO), pytest.raises(Unreachable):
            await storage.complete_upload("bucket", "object", upload)
        with pytest.raises(UploadNotFound):  # which would replace what the object consists of
            await storage.put_part("bucket", "object", upload, 1, b"other")
        await getattr(storage, end)("bucket", "object", upload)
        assert await read(storage, "object") == b"0123"
        assert not await storage.upload_exists("bucket", "object", upload)


def test_a_part_that_is_stored_while_its_upload_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The upload's folder has another name by the time that the part's record is synced."""
    disk = Disk(tmp_path, durable=True)
    disk.prepare()
    disk.create_bucket("bucket")
    uploads = Uploads(disk)
    upload = UploadKey("bucket", "object", uploads.start(("bucket", "object")))
    replace, stats = os.replace, list[ObjectStat]()

    def complete_then(source: Path, target: Path) -> None:
        replace(source, target)
        monkeypatch.setattr(os, "replace", replace)
        stats.append(uploads.complete(upload, ExpectedParts(None, None, 1)))

    def add(writer: ContentWriter) -> None:
        monkeypatch.setattr(os, "replace", complete_then)
        uploads.add_part(upload, PartStat(1, 4, writer.md5), writer.extent.file)

    with ContentWriter(disk.new_content("bucket"), durable=True) as writer:
        writer.write(memoryview(b"0123"))
        writer.finish(add)
    assert [stat.size for stat in stats] == [4]
    assert [path.read_bytes() for path in content_files(tmp_path)] == [b"0123"]
    assert disk.find(("bucket", "object")).content == (writer.extent,)

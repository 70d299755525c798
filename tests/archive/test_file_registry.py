from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import attrs
import pytest
import trio

from connector.archive import admin
from connector.archive.file_registry import file_extension
from connector.archive.models import FileUpload
from connector.errors import UsageError
from persistence.errors import AlreadyExists
from tests.support.memory_archive import memory_archive
from tests.support.stored_upload import stored_upload


@pytest.mark.parametrize(
    ("alias", "extension"),
    [
        ("sample.vcf.gz", ".vcf.gz"),
        ("run.1/sample", ""),
        ("sample.bam", ".bam"),
        ("a.b.c.bin", ".bin"),
        ("reads_R1.fastq.BZ2", ".fastq.BZ2"),
        ("x.gz", ".gz"),
        ("x.bam.c4gh", ".bam"),
        ("v1.2024-11.gz", ".gz"),
        (".hidden", ""),
        ("name.with space", ""),
        ("name.averyveryverylongsuffix", ""),
        ("C:\\data\\x.cram", ".cram"),
        ("umlaut.bäm", ""),
    ],
)
def test_extensions(alias: str, extension: str) -> None:
    assert file_extension(alias) == extension


def interrogated(file_id: str) -> FileUpload:
    return stored_upload(
        id=file_id, state="interrogated", object_id=f"{file_id}.1", secret_id="s", decrypted_size=65_537
    )


@pytest.mark.trio
async def test_only_what_is_there_is_granted_or_tried_again() -> None:
    async with memory_archive() as archive:
        with pytest.raises(UsageError, match="no files"):
            await admin.grant_download(archive, bytes(32), None)
        await archive.database.files.insert(archive.registry.new_file(interrogated("one"), "GHGAF1"))
        with pytest.raises(UsageError, match="GHGAF2"):
            await admin.grant_download(archive, bytes(32), ["GHGAF1", "GHGAF2"])
        with pytest.raises(UsageError, match="'one'"):
            await admin.retry_jobs(archive, ["one"])
        assert await admin.retry_jobs(archive, []) == 0


@pytest.mark.trio
async def test_accessions_are_unique() -> None:
    async with memory_archive() as archive:
        found: list[str] = []

        async def take() -> None:
            found.append(await archive.registry.next_accession())

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(take)
        assert len(set(found)) == 20
        assert all(accession.startswith("GHGAF") and accession[5:].isdigit() for accession in found)


@pytest.mark.trio
async def test_a_registered_file_has_no_header() -> None:
    async with memory_archive() as archive:
        file = archive.registry.new_file(interrogated("file-1"), "GHGAF1")
        assert file.encrypted_size == 65_537 + 2 * 28
        assert (file.object_id, file.secret_id) == ("file-1.1", "s")


class Between:
    """A collection that is listed, after which a file is registered, once."""

    def __init__(self, listed: Any, register: Callable[[], Awaitable[None]]) -> None:
        self._listed, self._register = listed, register

    async def find_all(self) -> AsyncIterator[Any]:
        async for one in self._listed.find_all():
            yield one
        await self._register()


@pytest.mark.trio
async def test_an_upload_that_is_registered_meanwhile_is_listed_once() -> None:
    async with memory_archive() as archive:
        file = archive.registry.new_file(interrogated("1"), "GHGAF1")
        await archive.database.uploads.insert(interrogated("1"))

        async def register() -> None:
            with suppress(AlreadyExists):
                await archive.database.files.insert(file)
                await archive.database.uploads.compare_and_set("1", expected={}, changes={"state": "archived"})

        registry: Any = Between(archive.registry, register)
        uploads: Any = Between(archive.upload_repository, register)
        registering = attrs.evolve(archive, registry=registry, upload_repository=uploads)
        (row,) = await admin.list_files(registering, uploads=True)
        assert row["file_id"] == "1"

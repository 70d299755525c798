"""Jobs that a worker takes after what they call for was done by another one, or is called off."""

from __future__ import annotations

import pytest

from connector.archive.jobs import find_job, schedule
from connector.archive.models import JobKind, UploadState
from connector.archive.worker import Lease
from tests.support.memory_archive import memory_archive
from tests.support.stored_upload import stored_upload

pytestmark = pytest.mark.trio


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("expire", "inbox"),
        ("interrogate", "cancelled"),
        ("interrogate", "interrogated"),
        ("interrogate", None),
        ("register", "archived"),
        ("register", None),
        ("stage", None),
        ("unstage", None),
    ],
)
async def test_nothing_is_left_to_do(kind: JobKind, state: UploadState | None) -> None:
    """The job ends, and neither the documents nor the storage are touched."""
    async with memory_archive() as archive:
        before = None if state is None else await archive.database.uploads.insert(stored_upload(state=state))
        await schedule(archive.database, "upload", kind, hub="embedded", now=await archive.database.factory.now())
        await archive.hubs.default.storage.put_object("permanent", "upload.0", b"of another attempt")
        (job,) = [one async for one in archive.jobs.claim({kind: 1}, worker="w")]
        lease = Lease(archive.jobs, job)
        await archive.works[kind](lease)
        assert lease.is_over
        assert await find_job(archive.database, "upload") is None
        assert [one async for one in archive.database.uploads.find_all()] == ([] if before is None else [before])
        assert await archive.hubs.default.storage.object_exists("permanent", "upload.0")


async def test_an_upload_that_nothing_came_of_is_cleaned_when_it_expires() -> None:
    async with memory_archive() as archive:
        await schedule(archive.database, "upload", "expire", hub="embedded", now=await archive.database.factory.now())
        (job,) = [one async for one in archive.jobs.claim({"expire": 1}, worker="w")]
        lease = Lease(archive.jobs, job)
        await archive.works["expire"](lease)
        assert lease.job.kind == "clean"

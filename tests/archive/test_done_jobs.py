"""Jobs that a worker takes after what they call for was done by another one, or is called off."""

from __future__ import annotations

import pytest

from connector.archive.jobs import find_job, schedule
from connector.archive.models import JobKind, UploadState
from connector.archive.worker import Lease
from persistence.errors import CredentialsRefused
from persistence.objects.memory import MemoryStorage
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


class Undeletable(MemoryStorage):
    """Permits no deletion, as a bucket with a policy or a retention of objects does: S3 answers that for each one."""

    async def _delete_object(self, names: tuple[str, str]) -> None:
        await self._stat(names)
        raise CredentialsRefused("No deletion.")


@pytest.mark.parametrize(
    ("kind", "bucket"), [("clean", "permanent"), ("clean", "download"), ("interrogate", "permanent")]
)
async def test_a_job_is_not_done_while_its_objects_cannot_be_deleted(kind: JobKind, bucket: str) -> None:
    async with memory_archive(storage=Undeletable()) as archive:
        storage, now = archive.hubs.default.storage, await archive.database.factory.now()
        await archive.database.uploads.insert(stored_upload(state="inbox"))
        if kind == "interrogate":
            await storage.put_object("inbox", "upload", b"received")
        await schedule(archive.database, "upload", kind, hub="embedded", now=now)
        await archive.database.jobs.compare_and_set("upload", expected={}, increments={"token": 2}, changes={})
        (job,) = [one async for one in archive.jobs.claim({kind: 1}, worker="w")]
        await storage.put_object(bucket, job.earlier_attempt_ids[0], b"of an earlier attempt")
        with pytest.raises(CredentialsRefused):
            await archive.works[kind](Lease(archive.jobs, job))
        assert await find_job(archive.database, "upload") is not None

"""The objects that attempts of jobs write: each attempt under a name of its own."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from connector.archive.hubs import Hub
from connector.archive.models import Job
from connector.errors import IntegrityError
from persistence.errors import NotFound

_MOST_TRACED = 20
"""Attempts, the last ones, whose multipart uploads are searched for: one call each, as S3 does not list them by prefix
everywhere."""


async def remove_earlier_attempts(job: Job, hub: Hub, bucket: str) -> None:
    """Remove what earlier attempts of a job have left whose workers could not do so themselves."""
    earlier = job.earlier_attempt_ids[-_MOST_TRACED:]
    if earlier:
        await abort_uploads(hub, bucket, earlier)
        await _delete_all(hub, bucket, earlier)


async def remove_all_attempts(job: Job, hub: Hub, bucket: str) -> None:
    """Remove all that was ever written about the file of a job in a bucket where every attempt has its own name."""
    await abort_uploads(hub, bucket, [*job.earlier_attempt_ids, job.attempt_id][-_MOST_TRACED:])
    found = [stat.object_id async for stat in hub.storage.list_objects(bucket, prefix=f"{job.id}.")]
    await _delete_all(hub, bucket, found)


async def _delete_all(hub: Hub, bucket: str, object_ids: Iterable[str]) -> None:
    """Delete objects; raises the error of one that could not be deleted, as where the storage does not permit that."""
    for error in (await hub.storage.delete_objects(bucket, object_ids)).values():
        raise error


async def check_unregistered(job: Job, hub: Hub) -> None:
    """Refuse to give up an upload of which the permanent bucket has an object: the database does not know of that.

    Then the database was restored from an earlier backup. A later one may still be found, which has the file's secret.

    Raises:
        IntegrityError: There is an object of this file.
    """
    async for stat in hub.storage.list_objects(hub.buckets.permanent, prefix=f"{job.id}."):
        raise IntegrityError(
            f"The database knows less of this file than the permanent bucket of {hub.alias}, which has its object"
            f" {stat.object_id}.",
            hint="Restore a later database. If there is none, delete the object, then: connector archive jobs retry",
        )


async def abort_uploads(hub: Hub, bucket: str, object_ids: Iterable[str]) -> None:
    """Abort all multipart uploads of these objects."""
    for object_id in object_ids:
        for upload in await hub.storage.list_uploads(bucket, object_id):
            with suppress(NotFound):
                await hub.storage.abort_upload(bucket, object_id, upload.upload_id)

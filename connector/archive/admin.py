"""The administration of an archive, also while it is being served: grants, listings, states of boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from connector.archive.assembly import Archive
from connector.archive.errors import ApiError, IncompleteUploads
from connector.archive.file_registry import file_extension
from connector.archive.hubs import Hub
from connector.archive.models import Box, BoxState, FileUpload, RegisteredFile, WorkPackage
from connector.archive.work_packages import Grant, WorkPackageService
from connector.errors import UsageError


async def grant_upload(
    archive: Archive,
    public_key: bytes,
    *,
    title: str = "",
    max_size: int | None = None,
    storage_alias: str | None = None,
    box_id: str | None = None,
    lifetime: float | None = None,
) -> Grant:
    """Grant uploads to the owner of a public key (32 bytes), into a new box or into `box_id`.

    The grant is valid for `lifetime` seconds, if that is given, otherwise as long as the archive's settings say.

    Raises:
        UsageError: There is no such box or hub, or the box is archived.
    """
    if box_id is not None:
        box = await _find_box(archive, box_id)
        if box.state == "archived":
            raise UsageError(f"The box {box.id} is archived: nothing can be added.", hint="Leave --box out.")
    else:
        alias = find_hub(archive, storage_alias).alias
        box = await archive.boxes.create(title=title, storage_alias=alias, max_size=max_size)
    return await archive.work_packages.grant_upload(box, public_key, lifetime=lifetime)


def find_hub(archive: Archive, alias: str | None) -> Hub:
    """The hub with this storage alias, or the archive's first one.

    Raises:
        UsageError: The archive has none.
    """
    if alias is None:
        return archive.hubs.default
    if alias not in archive.hubs:
        known = ", ".join(hub.alias for hub in archive.hubs)
        raise UsageError(f"The archive has no data hub {alias!r}.", hint=f"It has {known}.")
    return archive.hubs.get(alias)


async def grant_download(
    archive: Archive, public_key: bytes, accessions: Iterable[str] | None, *, lifetime: float | None = None
) -> Grant:
    """Grant downloads of these files, or of all that are registered, to the owner of a public key (32 bytes).

    The grant is valid for `lifetime` seconds, if that is given, otherwise as long as the archive's settings say.

    Raises:
        UsageError: An accession is unknown, or the archive has no files.
    """
    files = {file.accession: file_extension(file.alias) async for file in archive.registry.find_all()}
    if not files:
        raise UsageError("The archive holds no files yet.", hint="Upload some, and wait until they are registered.")
    if accessions is not None:
        wanted = list(accessions)
        unknown = [accession for accession in wanted if accession not in files]
        if unknown:
            raise UsageError(
                f"The archive holds no file {unknown[0]!r}.", hint="`connector archive files` lists what there is."
            )
        files = {accession: files[accession] for accession in wanted}
    return await archive.work_packages.grant_download(files, public_key, lifetime=lifetime)


async def list_grants(archive: Archive) -> list[dict[str, Any]]:
    """List all grants, the oldest first, with what they permit, how long they are valid, and when they were used."""
    return [_grant_row(package, archive.work_packages) async for package in archive.work_packages.find_all()]


async def revoke_grants(archive: Archive, grants: Iterable[str]) -> None:
    """Revoke grants, named by their ids or by access tokens: from now on every process refuses them.

    Raises:
        UsageError: One is unknown; the others are revoked.
    """
    unknown = []
    for grant in grants:
        if await archive.work_packages.revoke(grant.partition(":")[0]) is None:
            unknown.append(grant.partition(":")[0])
    if unknown:
        raise UsageError(
            f"The archive has no grant {unknown[0]!r}.", hint="`connector archive grants` lists what there is."
        )


async def list_files(archive: Archive, *, uploads: bool = False) -> list[dict[str, Any]]:
    """List all registered files; with `uploads` also uploads that are not registered, which have no accession."""
    # Read first: an upload that is registered meanwhile is in both collections then, not in neither.
    pending: list[FileUpload] = []
    if uploads:
        pending = [upload async for upload in archive.upload_repository.find_all() if upload.state != "archived"]
    rows = [
        _file_row(file, file.file_id, state="archived", registered=file.registered.isoformat(), failure_reason=None)
        async for file in archive.registry.find_all()
    ]
    registered = {row["file_id"] for row in rows}
    rows += [
        _file_row(upload, upload.id, state=upload.state, failure_reason=upload.failure)
        for upload in pending
        if upload.id not in registered
    ]
    return rows


async def list_boxes(archive: Archive) -> list[dict[str, Any]]:
    """List all boxes with their sizes and the states of their uploads."""
    boxes = [box async for box in archive.boxes.find_all()]
    states: dict[str, Counter[str]] = {}
    # All in one query: a query for each box would be a round trip for each.
    async for upload in archive.database.uploads.find_all(sort=["id"]):
        states.setdefault(upload.box_id, Counter())[upload.state] += 1
    return [
        {
            "box": box.id,
            "research_data_upload_box": box.rdub_id,
            "title": box.title,
            "state": box.state,
            "storage_alias": box.storage_alias,
            "size": box.used_size,
            "max_size": box.max_size,
            "uploads": states.get(box.id, Counter[str]()),
            "created": box.created.isoformat(),
        }
        for box in boxes
    ]


async def list_jobs(archive: Archive, *, scheduled: bool = False) -> list[dict[str, Any]]:
    """List the jobs that are due, in progress or have failed; with `scheduled` also those whose time will come."""
    return [
        {
            "job": job.id,
            "kind": job.kind,
            "state": "set aside" if job.is_set_aside else "running" if job.worker is not None else "waiting",
            "storage_alias": job.hub,
            "due": job.due.isoformat() if job.due is not None else None,
            "attempts": job.attempts,
            "worker": job.worker,
            "reason": job.reason,
        }
        for job in await archive.jobs.find_all(scheduled=scheduled)
    ]


async def retry_jobs(archive: Archive, jobs: Sequence[str]) -> int:
    """Try jobs again at once that have failed, these or all; returns how many those are.

    Raises:
        UsageError: One of them has not failed.
    """
    retried = await archive.jobs.retry(jobs or None)
    for job in jobs:
        if job not in retried:
            raise UsageError(f"No job {job!r} has failed.", hint="`connector archive jobs` lists what there is.")
    return len(retried)


async def set_box_state(archive: Archive, box_id: str, state: BoxState) -> Box:
    """Lock, unlock or archive a box, identified by either of its ids.

    Archiving is final; the interrogated uploads are registered then.

    Raises:
        UsageError: There is no such box, or it is archived; or it is to be archived, but is open or has uploads that
            are not interrogated yet.
    """
    box = await _find_box(archive, box_id)
    if state == "archived" and box.state == "open":
        raise UsageError(
            f"The box {box.id} is open: files may still be added.",
            hint=f"Lock it first: connector archive lock {box.id}",
        )
    try:
        return await archive.boxes.set_state(box.id, state, version=box.version)
    except IncompleteUploads as error:
        raise UsageError(
            error.message,
            hint="Those in inbox are interrogated soon, if a worker runs. For those in init, unlock the box until their"
            " owner has completed or removed them.",
        ) from error
    except ApiError as error:
        raise UsageError(error.message) from error


async def _find_box(archive: Archive, box_id: str) -> Box:
    async for box in archive.boxes.find_all():
        if box_id in (box.id, box.rdub_id):
            return box
    raise UsageError(f"The archive has no box {box_id!r}.", hint="`connector archive boxes` lists what there is.")


def _grant_row(package: WorkPackage, packages: WorkPackageService) -> dict[str, Any]:
    state = "valid" if packages.is_valid(package) else "expired" if package.revoked is None else "revoked"
    return {
        "grant": package.id,
        "type": package.type,
        "state": state,
        "box": package.box_id,
        "files": sorted(package.files or {}),
        "public_key": package.user_public_crypt4gh_key,
        "created": package.created.isoformat(),
        "expires": package.expires.isoformat(),
        "last_used": package.last_used.isoformat() if package.last_used else None,
        "revoked": package.revoked.isoformat() if package.revoked else None,
    }


def _file_row(file: RegisteredFile | FileUpload, file_id: str, **more: str | None) -> dict[str, Any]:
    return {
        "accession": file.accession,
        "alias": file.alias,
        "box": file.box_id,
        "file_id": file_id,
        "decrypted_size": file.decrypted_size,
        "encrypted_size": file.encrypted_size,
        "sha256": file.decrypted_sha256,
        **more,
    }

"""What may be wrong with the things of a file, and how it is repaired where that is safe. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Literal
from uuid import UUID

import attrs

from connector.archive.inventory import FileView, Place
from connector.archive.models import BoxState, FileUpload, Job, JobKind
from connector.archive.repairs import Delete, DeleteSecret, FailUpload, ForgetCopy, Repair, Reseal, Schedule
from connector.crypt4gh.segments import sealed_size

FaultKind = Literal[
    "lost_upload",
    "missing_object",
    "wrong_size",
    "missing_secret",
    "not_registered",
    "not_archived",
    "missing_copy",
    "leftover_object",
    "leftover_upload",
    "leftover_content",
    "leftover_secret",
    "unknown_object",
    "unknown_upload",
    "missing_job",
    "job_set_aside",
    "unknown_hub",
    "unknown_box",
    "wrong_counters",
    "old_master_key",
    "missing_master_key",
]


UNKNOWN: Collection[FaultKind] = ("unknown_object", "unknown_upload")
"""Faults that are none where the database is another archive's, or was restored from an earlier backup: what they tell
of is removed only if a person says that the database is the right one."""


@attrs.frozen
class Fault:
    """Something without its counterpart.

    Attributes:
        kind: What is wrong.
        subject: The id of a file, box or key, or the name of a content file.
        message: The same in a sentence.
        repair: What mends it; `None` if that needs a person, since something was lost.
    """

    kind: FaultKind
    subject: str
    message: str
    repair: Repair | None = None


@attrs.frozen
class Surroundings:
    """What the things of a file are judged by.

    Attributes:
        hubs: The storage aliases of the archive.
        boxes: The states of all boxes by their ids.
        masters: The ids of the master keys that are here, the current one first.
        manual: Whether files are registered only when their box is archived.
        upload_lifetime: After what time an upload that was not completed is given up.
    """

    hubs: Collection[str]
    boxes: Mapping[str, BoxState]
    masters: tuple[str, ...]
    manual: bool
    upload_lifetime: timedelta


def find_faults(view: FileView, around: Surroundings) -> Iterator[Fault]:
    """What is wrong with the things of one file.

    Where a job is yet to be done nothing is a leftover: it removes what earlier attempts have left. Where an object is
    missing, what else there is of the file may be that, as when two buckets are swapped in the configuration. So it is
    where its hub is unknown, which may be there under another alias.
    """
    unknown = list(_unknown(view, around))
    yield from unknown
    contents = [*_upload_faults(view, around), *_file_faults(view, around)]
    yield from contents
    yield from _secret_faults(view, around)
    yield from _job_faults(view, around)
    if view.job is None:
        is_missing = any(
            fault.kind in ("lost_upload", "missing_object", "unknown_hub") for fault in (*unknown, *contents)
        )
        yield from _leftovers(view, is_missing)


def _unknown(view: FileView, around: Surroundings) -> Iterator[Fault]:
    named = {(one.storage_alias) for one in (view.upload, view.file) if one is not None}
    for alias in sorted(named | ({view.job.hub} if view.job is not None else set())):
        if alias not in around.hubs:
            yield Fault("unknown_hub", view.file_id, f"its storage {alias!r} is none of this archive's hubs")
    if view.upload is not None and view.upload.box_id not in around.boxes:
        yield Fault("unknown_box", view.file_id, f"its box {view.upload.box_id} does not exist")


def _upload_faults(view: FileView, around: Surroundings) -> Iterator[Fault]:
    upload = view.upload
    if upload is None:
        return
    if upload.state == "archived" and view.file is None:
        yield Fault("not_registered", upload.id, "it is archived, and no file is registered")
    if upload.storage_alias not in around.hubs:
        return  # what that hub has is not to be seen
    inbox = Place(upload.storage_alias, "inbox", upload.id)
    match upload.state:
        case "init":
            if not _has(view, inbox) and not _has(view, attrs.evolve(inbox, upload_id=upload.upload_id)):
                repair = None if view.objects else FailUpload(upload)
                yield Fault("lost_upload", upload.id, "it is open, and the storage has lost what was sent", repair)
        case "inbox":
            yield from _object_faults(view, inbox, upload.encrypted_size, "it was received")
        case "interrogated" | "awaiting_archival":
            if upload.object_id is None:
                yield Fault("missing_object", upload.id, "it is interrogated, and names no object")
            else:
                place = Place(upload.storage_alias, "permanent", upload.object_id)
                yield from _object_faults(view, place, sealed_size(upload.decrypted_size), "it is interrogated")


def _file_faults(view: FileView, around: Surroundings) -> Iterator[Fault]:
    file = view.file
    if file is None:
        return
    if view.upload is None or view.upload.state != "archived":
        state = "gone" if view.upload is None else view.upload.state
        yield Fault("not_archived", view.file_id, f"it is registered as {file.accession}, and its upload is {state}")
    if file.storage_alias not in around.hubs:
        return
    permanent = Place(file.storage_alias, "permanent", file.object_id)
    yield from _object_faults(view, permanent, file.encrypted_size, f"it is registered as {file.accession}")
    if file.staged_id is not None and not _has(view, Place(file.storage_alias, "download", file.staged_id)):
        repair = ForgetCopy(file.accession, file.staged_id)
        yield Fault("missing_copy", view.file_id, f"its staged copy {file.staged_id} is gone", repair)


def _object_faults(view: FileView, place: Place, size: int, why: str) -> Iterator[Fault]:
    found = next((stored for stored in view.objects if stored.place == place), None)
    if found is None:
        yield Fault("missing_object", view.file_id, f"{why}, and {_told(place)} does not exist")
    elif found.size != size:
        yield Fault("wrong_size", view.file_id, f"{_told(place)} has {found.size} bytes instead of {size}")


def _secret_faults(view: FileView, around: Surroundings) -> Iterator[Fault]:
    needed = set()
    if view.upload is not None and view.upload.state in ("interrogated", "awaiting_archival", "archived"):
        needed.add(view.upload.secret_id)
    if view.file is not None:
        needed.add(view.file.secret_id)
    present = {secret.id for secret in view.secrets}
    for secret_id in sorted(str(one) for one in needed - present):
        yield Fault("missing_secret", view.file_id, f"its secret {secret_id} does not exist")
    for secret in view.secrets:
        if secret.id not in needed:
            yield Fault(
                "leftover_secret", view.file_id, f"the secret {secret.id} belongs to no file", DeleteSecret(secret.id)
            )
        elif secret.key_id not in around.masters:
            yield Fault(
                "missing_master_key", view.file_id, f"its secret is sealed under {secret.key_id}, which is not here"
            )
        elif secret.key_id != around.masters[0]:
            yield Fault(
                "old_master_key",
                view.file_id,
                f"its secret is sealed under the old master key {secret.key_id}",
                Reseal(),
            )


def _job_faults(view: FileView, around: Surroundings) -> Iterator[Fault]:
    if view.job is not None and view.job.is_set_aside:
        reason = view.job.reason or "for an unknown reason"
        yield Fault("job_set_aside", view.file_id, f"the job {view.job.kind} was set aside: {reason}")
    upload, needed = view.upload, _needed_job(view.upload, around)
    if upload is not None and needed is not None and not _does(view.job, needed):
        due = upload.created + around.upload_lifetime if needed == "expire" else None
        yield Fault(
            "missing_job", upload.id, f"nothing is going to {needed} it", Schedule(needed, upload.storage_alias, due)
        )


def _needed_job(upload: FileUpload | None, around: Surroundings) -> JobKind | None:
    match upload.state if upload is not None else None:
        case "init":
            return "expire"
        case "inbox":
            return "interrogate"
        case "awaiting_archival":
            return "register"
        case "interrogated" if upload is not None:
            waits = around.manual and around.boxes.get(upload.box_id) != "archived"
            return None if waits else "register"
        case _:
            return None


def _does(job: Job | None, needed: JobKind) -> bool:
    # A worker that has a job may be about to replace it.
    return job is not None and (job.kind == needed or job.worker is not None)


def _leftovers(view: FileView, is_missing: bool) -> Iterator[Fault]:
    upload, file = view.upload, view.file
    named = set()
    if upload is not None and upload.state in ("init", "inbox"):
        named.add(Place(upload.storage_alias, "inbox", upload.id))
    if upload is not None and upload.state == "init":
        named.add(Place(upload.storage_alias, "inbox", upload.id, upload.upload_id))
    if upload is not None and upload.state in ("interrogated", "awaiting_archival") and upload.object_id is not None:
        named.add(Place(upload.storage_alias, "permanent", upload.object_id))
    if file is not None:
        named.add(Place(file.storage_alias, "permanent", file.object_id))
        if file.staged_id is not None:
            named.add(Place(file.storage_alias, "download", file.staged_id))
    hubs = {document.storage_alias for document in (upload, file) if document is not None}
    for stored in view.objects:
        if stored.place not in named:
            is_object = stored.place.upload_id is None
            if stored.place.hub in hubs and not is_missing:
                kind: FaultKind = "leftover_object" if is_object else "leftover_upload"
                yield Fault(kind, view.file_id, f"{_told(stored.place)} belongs to no file", Delete(stored.place))
            else:
                kind = "unknown_object" if is_object else "unknown_upload"
                yield _unknown_object(view.file_id, stored.place, kind, is_missing)


def _unknown_object(file_id: str, place: Place, kind: FaultKind, is_missing: bool) -> Fault:
    """What the storage has of a file of which the database knows nothing, or nothing there."""
    if is_missing:
        return Fault(
            kind, file_id, f"{_told(place)} may be what is missing: see whether its buckets are the right ones"
        )
    if _is_file_id(file_id):
        return Fault(kind, file_id, f"{_told(place)} is of a file that the database does not know there", Delete(place))
    return Fault(kind, file_id, f"{_told(place)} has no name of this archive's")  # somebody else's: never deleted


def _is_file_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _has(view: FileView, place: Place) -> bool:
    return any(stored.place == place for stored in view.objects)


def _told(place: Place) -> str:
    what = "the object" if place.upload_id is None else f"the multipart upload {place.upload_id} of"
    return f"{what} {place.object_id} in {place.bucket} of {place.hub}"

"""The check of an archive: compares its documents with its objects and secrets, also while it is served.

What looks wrong is looked at again after a moment, so that what is just being changed is not reported: documents first,
then what they name. Repairs are those that the archive's own jobs could have made, and each states in its write what it
expects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

import attrs
import trio

from connector.archive.database import Database
from connector.archive.faults import UNKNOWN, Fault, Surroundings, find_faults
from connector.archive.hubs import Hubs
from connector.archive.inventory import FileView, Inventory, bucket_name
from connector.archive.jobs import schedule
from connector.archive.key_ring import KeyRing
from connector.archive.key_rotation import KeyRotation
from connector.archive.models import Box, FileUpload
from connector.archive.repairs import (
    Delete,
    DeleteContent,
    DeleteSecret,
    FailUpload,
    ForgetCopy,
    Recount,
    Repair,
    Reseal,
    Schedule,
)
from connector.archive.settings import ArchiveSettings, Clock
from connector.archive.upload_checks import usage_of
from connector.archive.upload_repository import UploadChanged, UploadRepository
from persistence.errors import NotFound
from persistence.objects.filesystem import FilesystemStorage

LOST = "The archive has lost what was sent of this file; upload it again."
_MOMENT = 1.0
_LOOKS = 5
"""Times that a file is looked at again whose documents are changed at that moment."""
_MOST_SUSPECTS = 1000
"""Files that are looked at again together."""

Report = Callable[[Fault, bool], None]
"""Called with each fault, and whether it was repaired."""


@attrs.frozen(eq=False)
class ArchiveCheck:
    """Finds what has no counterpart in an archive, and repairs what is safe."""

    _database: Database
    _hubs: Hubs
    _ring: KeyRing
    _rotation: KeyRotation
    _settings: ArchiveSettings
    _clock: Clock

    async def run(
        self, report: Report, *, repair: bool = False, delete_unknown: bool = False, pause: float = _MOMENT
    ) -> int:
        """Check everything once.

        Args:
            report: Is told of each fault as soon as it is found.
            repair: Whether to repair what is safe.
            delete_unknown: Whether to delete then what the storage has of files that the database does not know, too.
                If the database is not the right one, or not complete, these are files of the archive.
            pause: Seconds after which what looks wrong is looked at again.

        Returns:
            How many faults are left.
        """
        left = 0

        async def tell(fault: Fault) -> None:
            nonlocal left
            is_safe = delete_unknown or fault.kind not in UNKNOWN
            repaired = repair and is_safe and fault.repair is not None and await self._repair(fault, fault.repair)
            left += not repaired
            report(fault, repaired)

        inventory = Inventory(self._database, self._hubs)
        usage: dict[str, Counter[str]] = {}
        around, suspects = await self._surroundings(), list[FileView]()

        async def look_again() -> None:
            await trio.sleep(pause)
            for view in suspects:
                for fault in await self._confirmed(view, inventory, around):
                    await tell(fault)
            suspects.clear()

        async for view in inventory.files():
            if view.upload is not None:
                usage.setdefault(view.upload.box_id, Counter()).update(usage_of(view.upload))
            if any(find_faults(view, around)):
                suspects.append(view)
            if len(suspects) >= _MOST_SUSPECTS:
                await look_again()
        if suspects:
            await look_again()
        await self._check_boxes(usage, tell)
        await self._check_keys(tell)
        await self._check_content(tell)
        return left

    async def _confirmed(self, view: FileView, inventory: Inventory, around: Surroundings) -> list[Fault]:
        """The faults of a file as it is now; none of one that is changed as often as it is looked at."""
        for _ in range(_LOOKS):
            view = await inventory.look_again(view)
            # Boxes come and are archived, and keys are rotated, while the archive is checked.
            faults = list(find_faults(view, around)) and list(find_faults(view, await self._surroundings()))
            if not faults or await inventory.is_current(view):
                break
        else:
            return []
        return [
            fault
            for fault in faults
            if not (isinstance(fault.repair, DeleteSecret) and await inventory.is_secret_used(fault.repair.secret_id))
        ]

    async def _surroundings(self) -> Surroundings:
        await self._ring.refresh()
        boxes = {box.id: box.state async for box in self._database.boxes.find_all()}
        async for job in self._database.jobs.find_all({"kind": "archive_box"}):
            if job.id in boxes:
                boxes[job.id] = "locked"  # as it counts for its uploads until this is done
        masters = tuple(key.id for key in self._ring.keys("master"))
        return Surroundings(
            hubs={hub.alias for hub in self._hubs},
            boxes=boxes,
            masters=masters,
            manual=self._settings.manual_archival,
            upload_lifetime=timedelta(seconds=self._settings.upload_lifetime),
        )

    async def _check_boxes(self, usage: dict[str, Counter[str]], tell: Callable[[Fault], Awaitable[None]]) -> None:
        async for box in self._database.boxes.find_all():
            if _counters(box) == usage.get(box.id, Counter()):
                continue
            # Counted while they were changed, perhaps: count again, together with the box.
            counted, current = await self._database.transact(partial(_count, box_id=box.id))
            if current is not None and _counters(current) != counted:
                told = f"{current.open_uploads} open uploads and {current.used_size} bytes"
                right = f"{counted['open_uploads']} and {counted['used_size']}"
                await tell(Fault("wrong_counters", box.id, f"its box counts {told} instead of {right}", Recount()))

    async def _check_keys(self, tell: Callable[[Fault], Awaitable[None]]) -> None:
        usable = {key.id for key in self._ring.all()}
        async for key in self._ring.documents():
            if key.id not in usable:
                message = f"the {key.kind} key is sealed under {key.master_id}, which is not here, or is damaged"
                await tell(Fault("missing_master_key", key.id, message))
            elif key.kind != "master" and key.master_id != self._ring.master.id:
                message = f"the {key.kind} key is sealed under the old master key {key.master_id}"
                await tell(Fault("old_master_key", key.id, message, Reseal()))

    async def _check_content(self, tell: Callable[[Fault], Awaitable[None]]) -> None:
        """What killed processes have left in directories, below the objects. S3 servers clean up after themselves."""
        for hub in self._hubs:
            if isinstance(hub.storage, FilesystemStorage):
                for bucket in hub.buckets.names:
                    for path in await hub.storage.unnamed_content(bucket):
                        message = f"the content file {path} of {hub.alias} belongs to no object"
                        await tell(Fault("leftover_content", path.name, message, DeleteContent(path)))

    async def _repair(self, fault: Fault, repair: Repair) -> bool:
        """Make one repair; tells whether it was made. It may have become needless meanwhile."""
        database = self._database
        match repair:
            case Delete(place):
                hub = self._hubs.get(place.hub)
                bucket = bucket_name(hub, place.bucket)
                with suppress(NotFound):
                    if place.upload_id is None:
                        await hub.storage.delete_object(bucket, place.object_id)
                    else:
                        await hub.storage.abort_upload(bucket, place.object_id, place.upload_id)
            case DeleteContent(path):
                try:
                    await trio.to_thread.run_sync(partial(path.unlink, missing_ok=True))
                except OSError:
                    return False
            case DeleteSecret(secret_id):
                with suppress(NotFound):
                    await database.secrets.delete(secret_id)
            case Schedule(job, hub, due):
                now = due or await database.factory.now()
                await database.transact(lambda bound: schedule(bound, fault.subject, job, hub=hub, now=now))
            case FailUpload(upload):
                with suppress(UploadChanged):
                    await database.transact(lambda bound: self._fail(bound, upload))
            case ForgetCopy(accession, staged_id):
                with suppress(NotFound):
                    await database.files.compare_and_set(
                        accession, expected={"staged_id": staged_id}, changes={"staged_id": None}
                    )
            case Recount():
                await database.transact(lambda bound: _recount(bound, fault.subject))
            case Reseal():
                await self._rotation.reseal()
        return True

    async def _fail(self, database: Database, upload: FileUpload) -> None:
        await UploadRepository(database, self._clock).move(upload, "failed", failure=LOST)
        await schedule(database, upload.id, "clean", hub=upload.storage_alias, now=await database.factory.now())


def _counters(box: Box) -> Counter[str]:
    return Counter(open_uploads=box.open_uploads, used_size=box.used_size)


async def _count(database: Database, box_id: str) -> tuple[Counter[str], Box | None]:
    """What a box's counters should be, and the box."""
    with suppress(NotFound):
        box = await database.boxes.get_by_id(box_id)
        counted = Counter[str]()
        async for upload in database.uploads.find_all({"box_id": box_id}):
            counted.update(usage_of(upload))
        return counted, box
    return Counter(), None


async def _recount(database: Database, box_id: str) -> None:
    counted, box = await _count(database, box_id)
    if box is not None:
        changes = {name: counted[name] for name in ("open_uploads", "used_size")}
        await database.boxes.compare_and_set(box_id, expected={}, changes=changes)
